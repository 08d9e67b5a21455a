"""`--output` and `--num-classes`: what is dropped, and what then comes out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from converters import ConversionError, convert
from converters.steps.fresh import draw
from tests.cases import CASES
from tests.fill import image
from tests.steps.common import call, kept, run, torch_twin, weights, write
from vit_config import ConfigError, ViTConfig
from vit_config.weights import weight_table

WITH_HEAD = [
    *("vit", "two_classes", "tanh_head", "distilled", "dist_token", "avg", "max"),
    *("token_avg", "map_prefix", "registers", "qv_bias", "vit_3d", "avg_3d"),
]


def pair(case, tmp_path, **options):
    """Model before, model after, report, tensors after."""
    config = CASES[case]
    report, made = run(tmp_path, config, **options)
    before = torch_twin(config, weights(config))
    return before, torch_twin(report.config, made), report, made


@pytest.mark.parametrize("case", WITH_HEAD)
def test_pooled_is_what_the_head_saw(case, tmp_path):
    before, after, report, made = pair(case, tmp_path, output="pooled")
    assert report.steps == ("output:logits->pooled",)
    heads = {name for name in weights(CASES[case]) if name.startswith("head")}
    kept(weights(CASES[case]), made, but=heads)
    assert not heads & made.keys()
    assert set(report.dropped) == heads == set(report.effects[0].dropped)
    x = image((3, before.config.in_chans, *before.config.img_size))
    tokens = call(before, x, "forward_features")
    import torch

    wanted = call(before, tokens, "forward_head", pre_logits=True)
    assert torch.equal(torch.from_numpy(call(after, x)), torch.from_numpy(wanted))
    assert wanted.shape == (3, after.config.head_in_dim)


@pytest.mark.parametrize("case", [*WITH_HEAD, "pooled_representation", "pooled_3d"])
def test_tokens_are_those_after_the_final_norm(case, tmp_path):
    before, after, report, made = pair(case, tmp_path, output="tokens")
    found = "logits" if before.config.num_classes else "pooled"
    assert report.steps == (f"output:{found}->tokens",)
    parts = ("head", "fc_norm", "pre_logits", "attn_pool")
    gone = {name for name in weights(before.config) if name.startswith(parts)}
    assert set(report.dropped) == gone
    kept(weights(before.config), made, but=gone)
    assert not gone & made.keys()
    x = image((3, before.config.in_chans, *before.config.img_size))
    assert np.array_equal(call(after, x), call(before, x, "forward_features"))


def test_the_report_lists_what_was_dropped(tmp_path):
    report, _ = run(tmp_path, CASES["tanh_head"], output="tokens")
    names = ["head.bias", "head.weight", "pre_logits.bias", "pre_logits.weight"]
    fields = json.loads(report.to_json())
    assert fields["dropped"] == dict.fromkeys(sorted(names), "output:logits->tokens")
    assert sorted(fields["effects"][0]["dropped"]) == names
    assert f"left out: {', '.join(report.dropped)}" in str(report)
    assert len(report.dropped) == 4
    assert "output:logits-&gt;tokens" in report._repr_html_()


def test_dropped_tensors_have_the_names_of_the_source(tmp_path):
    config = CASES["tanh_3d"]
    run(tmp_path, config, to_dialect="monai")
    found = convert(
        tmp_path / "target.safetensors", tmp_path / "b.safetensors", output="tokens"
    )
    assert sorted(name for name, why in found.dropped.items() if "output" in why) == [
        "classification_head.0.bias",
        "classification_head.0.weight",
    ]


def test_what_the_file_is_already_is_no_step(tmp_path):
    for case, output in (("vit", "logits"), ("pooled", "pooled"), ("tokens", "tokens")):
        report, _ = run(tmp_path, CASES[case], output=output)
        assert report.steps == () and report.config == CASES[case]


@pytest.mark.parametrize(
    ("case", "options", "words", "hint"),
    [
        ("pooled", {"output": "logits"}, "the model has no head", "num_classes=N"),
        ("tokens", {"output": "logits"}, "the model has no head", "num_classes=N"),
        ("tokens", {"output": "pooled"}, "does not pool, it returns tokens", ""),
        ("vit", {"output": "features"}, "known are logits, pooled, tokens", ""),
        ("vit", {"output": "pooled", "num_classes": 4}, "which has no head", ""),
        ("vit", {"output": "logits", "num_classes": 0}, "which needs a head", ""),
        ("vit", {"num_classes": -1}, "num_classes=-1; 0 or more", ""),
        ("vit", {"num_classes": 4, "seed": -1}, "seed=-1; 0 or more", ""),
    ],
)
def test_impossible_outputs_are_refused(case, options, words, hint, tmp_path):
    source = write(tmp_path / "a.safetensors", CASES[case])
    with pytest.raises(ConversionError, match=words) as error:
        convert(source, tmp_path / "b.safetensors", **options)
    assert hint in error.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_damaged_head_may_go_but_no_damaged_encoder(tmp_path):
    config = CASES["vit"]
    arrays = weights(config)
    arrays["head.weight"][1, 2] = np.nan
    run(tmp_path, config, arrays, output="pooled")
    run(tmp_path, config, arrays, num_classes=7)
    arrays["norm.bias"][0] = np.inf
    with pytest.raises(ConversionError, match=r"norm\.bias  0 NaN and 1 infinite"):
        run(tmp_path, config, arrays, output="pooled")


# ---- a new head ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", ["vit", "distilled", "two_classes", "pooled", "map_3d"]
)
def test_head_is_drawn_from_the_seed(case, tmp_path):
    config = CASES[case]
    report, made = run(tmp_path, config, num_classes=7, seed=5)
    assert report.steps == (f"num_classes:{config.num_classes}->7:seed=5",)
    heads = {name for name in made if name.startswith("head")}
    kept(weights(config), made, but=heads)
    assert set(report.effects[0].drawn) == heads
    old = {name for name in weights(config) if name.startswith("head")}
    assert set(report.dropped) == old
    assert made["head.weight"].shape == (7, config.head_in_dim)
    for weight in weight_table(report.config):
        if weight.name in heads:
            wanted = draw(report.config, weight, 5)
            assert np.array_equal(made[weight.name], wanted)
    _, again = run(tmp_path, config, num_classes=7, seed=5)
    assert all(np.array_equal(made[name], again[name]) for name in made)
    _, other = run(tmp_path, config, num_classes=7, seed=6)
    assert not np.array_equal(made["head.weight"], other["head.weight"])
    before, after = (
        torch_twin(config, weights(config)),
        torch_twin(report.config, made),
    )
    x = image((2, config.in_chans, *config.img_size))
    pools = [
        call(model, call(model, x, "forward_features"), "forward_head", pre_logits=True)
        for model in (before, after)
    ]
    assert np.array_equal(*pools) and call(after, x).shape == (2, 7)


def test_two_heads_of_a_distilled_model_differ(tmp_path):
    _, made = run(tmp_path, CASES["distilled"], num_classes=7)
    assert not np.array_equal(made["head.weight"], made["head_dist.weight"])


def test_no_classes_are_the_pooled_output(tmp_path):
    first, made = run(tmp_path, CASES["vit"], num_classes=0)
    second, same = run(tmp_path, CASES["vit"], output="pooled")
    assert first.steps == second.steps and first.config == second.config
    kept(made, same, but=set())


def test_as_many_classes_keep_the_head_and_its_labels(tmp_path):
    config = CASES["vit"].replace(labels=["a", "b", "c"], problem_type="single_label")
    report, made = run(tmp_path, config, num_classes=3)
    assert report.steps == () and report.config == config
    kept(weights(config), made, but=set())
    report, _ = run(tmp_path, config, num_classes=4)
    assert report.config.labels is None
    assert report.config.problem_type == "single_label"


@pytest.mark.parametrize("output", ["pooled", "tokens"])
def test_what_only_meant_the_head_goes_with_it(output, tmp_path):
    config = CASES["tanh_head"].replace(labels=["a", "b", "c"], head_bias=False)
    report, _ = run(tmp_path, config, output=output)
    found = report.config
    assert (found.labels, found.head_act, found.head_bias) == (None, None, True)
    config = CASES["vit"].replace(problem_type="multi_label")
    assert run(tmp_path, config, output=output)[0].config.problem_type is None


def test_tokens_get_no_head(tmp_path):
    with pytest.raises(ConfigError, match="num_classes: 3 needs a pooled vector"):
        run(tmp_path, CASES["tokens"], num_classes=3)


# ---- drawing ------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["timm", "jax", "mae", "monai"])
def test_draws_have_the_distribution_of_the_scheme(scheme):
    config = ViTConfig(
        img_size=16,
        patch_size=8,
        embed_dim=96,
        depth=1,
        num_heads=4,
        mlp_dim=200,
        num_classes=50,
        class_token=False,
        global_pool="map",
        weight_init=scheme,
    )
    from vit_config.init import initial

    for weight in weight_table(config):
        made, init = draw(config, weight, 0), initial(config, weight)
        assert made.dtype == np.float32 and made.shape == weight.shape
        if init.kind == "constant":
            assert (made == np.float32(init.value)).all()
            continue
        spread = {"normal": 1, "truncated_normal": 0.8796, "uniform": 3**-0.5}
        std = spread[init.kind] * init.value
        tolerance = 5 / np.sqrt(made.size)
        assert abs(made.std() / std - 1) < tolerance, weight.name
        assert abs(made.mean() / std) < tolerance, weight.name
        if init.kind != "normal":
            cut = init.value * (2 if init.kind == "truncated_normal" else 1)
            assert np.abs(made).max() <= cut * (1 + 1e-6)
