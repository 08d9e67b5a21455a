"""`from_pretrained` and `save_pretrained` of the torch twin."""

from __future__ import annotations

import json

import pytest

from converters import ConversionError, convert
from tests.converters.cases import CASES, config, files_in, weights, write_canonical
from vit_config import ConfigError

torch = pytest.importorskip("torch")
CONFIG = CASES["classes"]


def model_of(config, dtype=torch.float32):
    import torch_vit

    model = torch_vit.ViT(config, dtype=dtype)
    state = {n: torch.from_numpy(a).to(dtype) for n, a in weights(config).items()}
    model.load_state_dict(state)
    return model


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(
        a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["x.safetensors", "x.keras", "folder"])
@pytest.mark.parametrize("case", ["classes", "volume", "map"])
def test_saved_model_comes_back(case, name, dtype, tmp_path):
    model = model_of(CASES[case], dtype)
    model.save_pretrained(tmp_path / name)
    back = type(model).from_pretrained(tmp_path / name)
    assert same(model, back) and back.config == model.config
    assert files_in(tmp_path) == [name]


def test_saved_file_is_the_canonical_one(tmp_path):
    path = write_canonical(tmp_path / "a.safetensors", CONFIG)
    model_of(CONFIG).save_pretrained(tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["x.safetensors", "x.keras", "folder"])
def test_a_model_that_its_config_does_not_describe_is_not_saved(name, tmp_path):
    model = model_of(CONFIG)
    model.blocks[1].norm1.eps = 0.5
    with pytest.raises(ConversionError, match=r"blocks\.1\.norm1\.eps +found 0\.5"):
        model.save_pretrained(tmp_path / name)
    assert files_in(tmp_path) == []
    model.blocks[1].norm1.eps = CONFIG.norm_eps
    model.save_pretrained(tmp_path / name)


def test_transposed_parameters_are_saved_right(tmp_path):
    model = model_of(CONFIG)
    head = model.head.weight
    head.data = head.data.T.contiguous().T
    assert not head.is_contiguous()
    model.save_pretrained(tmp_path / "a.safetensors")
    assert same(model, type(model).from_pretrained(tmp_path / "a.safetensors"))


def test_frozen_table_stays_frozen_and_the_rest_trains(tmp_path):
    model = model_of(CASES["post_sincos"])
    model.save_pretrained(tmp_path / "a.safetensors")
    back = type(model).from_pretrained(tmp_path / "a.safetensors")
    frozen = [name for name, p in back.named_parameters() if not p.requires_grad]
    assert frozen == ["pos_embed"]
    assert not any(p.is_meta for p in back.parameters())


def test_nothing_but_the_head_is_drawn(tmp_path, monkeypatch):
    import converters.steps.fresh

    model = model_of(CONFIG)
    model.save_pretrained(tmp_path / "a.safetensors")
    names = []
    draw = converters.steps.fresh.draw
    monkeypatch.setattr(
        converters.steps.fresh,
        "draw",
        lambda c, w, s: (names.append(w.name), draw(c, w, s))[1],
    )
    back = type(model).from_pretrained(tmp_path / "a.safetensors", num_classes=3)
    assert set(names) == {"head.weight", "head.bias"}
    assert back.config.num_classes == 3
    (step,) = back.config.source.steps
    assert step.startswith("num_classes:5->3:seed=")
    kept = {n: t for n, t in model.state_dict().items() if not n.startswith("head")}
    assert all(torch.equal(back.state_dict()[name], t) for name, t in kept.items())
    assert torch.isfinite(back.head.weight).all() and back.head.weight.std() > 0


def test_new_head_follows_the_generator_of_torch_and_its_seed_is_kept(tmp_path):
    model = model_of(CONFIG)
    path = tmp_path / "a.safetensors"
    model.save_pretrained(path)

    def head(seed):
        torch.manual_seed(seed)
        return type(model).from_pretrained(path, num_classes=3)

    first, again, other = head(0), head(0), head(1)
    assert same(first, again)
    assert not torch.equal(first.head.weight, other.head.weight)
    seed = int(first.config.source.steps[0].rpartition("=")[2])
    convert(path, tmp_path / "b.safetensors", num_classes=3, seed=seed)
    assert same(first, type(model).from_pretrained(tmp_path / "b.safetensors"))


def test_same_number_of_classes_keeps_the_head(tmp_path):
    model = model_of(CONFIG.replace(labels=list("abcde"), problem_type="single_label"))
    model.save_pretrained(tmp_path / "a.safetensors")
    back = type(model).from_pretrained(tmp_path / "a.safetensors", num_classes=5)
    assert same(model, back) and back.config == model.config


def test_new_head_forgets_the_old_labels(tmp_path):
    model = model_of(CONFIG.replace(labels=list("abcde"), problem_type="single_label"))
    model.save_pretrained(tmp_path / "a.safetensors")
    load = type(model).from_pretrained
    three = load(tmp_path / "a.safetensors", num_classes=3).config
    assert three.labels is None and three.problem_type == "single_label"
    none = load(tmp_path / "a.safetensors", num_classes=0).config
    assert none.problem_type is None and none.source.steps == ("output:logits->pooled",)


def test_dropout_rates_of_the_fine_tuning_change_no_weight(tmp_path):
    model = model_of(CONFIG)
    for name in ("a.safetensors", "a.keras"):
        model.save_pretrained(tmp_path / name)
        rates = {"drop_path_rate": 0.25, "proj_drop_rate": 0.5}
        back = type(model).from_pretrained(tmp_path / name, drop_rates=rates)
        assert same(model, back) and back.config == CONFIG.replace(**rates)
        x = torch.randn(1, CONFIG.in_chans, *CONFIG.img_size)
        assert torch.equal(model.eval()(x), back.eval()(x))
        back.train()
        assert not torch.equal(back(x), back(x))


def test_a_dropout_rate_that_is_none_is_named(tmp_path):
    model = model_of(CONFIG)
    model.save_pretrained(tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match="no depth; known are drop_rate, pos_drop"):
        type(model).from_pretrained(tmp_path / "a.safetensors", drop_rates={"depth": 9})
    with pytest.raises(ConfigError, match="drop_path_rate"):
        rates = {"drop_path_rate": 1.5}
        type(model).from_pretrained(tmp_path / "a.safetensors", drop_rates=rates)


def test_a_model_without_pooling_gets_no_head(tmp_path):
    model = model_of(CASES["tokens"])
    model.save_pretrained(tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match="num_classes: 3 needs a pooled vector"):
        type(model).from_pretrained(tmp_path / "a.safetensors", num_classes=3)


def test_only_a_head_that_is_replaced_may_be_damaged(tmp_path):
    import torch_vit

    arrays = weights(CONFIG)
    arrays["head.bias"][0] = float("nan")
    path = write_canonical(tmp_path / "head.safetensors", CONFIG, arrays)
    with pytest.raises(ConversionError, match=r"head\.bias"):
        torch_vit.ViT.from_pretrained(path)
    back = torch_vit.ViT.from_pretrained(path, num_classes=3)
    assert torch.isfinite(back.head.bias).all()

    arrays["norm.bias"][0] = float("nan")
    path = write_canonical(tmp_path / "norm.safetensors", CONFIG, arrays)
    with pytest.raises(ConversionError, match=r"norm\.bias"):
        torch_vit.ViT.from_pretrained(path, num_classes=3)


def test_model_with_nan_is_not_saved(tmp_path):
    model = model_of(CONFIG)
    model.head.bias.data[1] = float("nan")
    with pytest.raises(ConversionError, match=r"head.bias  1 NaN"):
        model.save_pretrained(tmp_path / "a.safetensors")
    assert files_in(tmp_path) == []


def test_existing_things_are_kept_without_force(tmp_path):
    model = model_of(CONFIG)
    for name in ("a.safetensors", "folder"):
        model.save_pretrained(tmp_path / name)
        with pytest.raises(ConversionError, match="exist"):
            model.save_pretrained(tmp_path / name)
        model.save_pretrained(tmp_path / name, force=True)
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    model.save_pretrained(tmp_path / "folder", force=True)
    files = ["config.json", "model.safetensors", "notes.txt"]
    assert files_in(tmp_path / "folder") == files
    assert files_in(tmp_path) == ["a.safetensors", "folder"]


def test_folder_whose_two_configs_differ_is_refused(tmp_path):
    model = model_of(CONFIG)
    model.save_pretrained(tmp_path / "folder")
    fields = {**CONFIG.to_dict(), "norm_eps": 1e-5}
    (tmp_path / "folder" / "config.json").write_text(json.dumps(fields))
    with pytest.raises(ConversionError, match="norm_eps  found 1e-06"):
        type(model).from_pretrained(tmp_path / "folder")


def test_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(ConversionError, match="unknown suffix"):
        model_of(CONFIG).save_pretrained(tmp_path / "a.bin")
    assert files_in(tmp_path) == []


def test_wrong_file_for_a_config_is_refused(tmp_path):
    path = write_canonical(tmp_path / "a.safetensors", config(depth=3), weights(CONFIG))
    import torch_vit

    with pytest.raises(ConversionError, match="depth=3"):
        torch_vit.ViT.from_pretrained(path)
