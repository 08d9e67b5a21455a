"""`--allow-missing`: what the source lacks is drawn, by name, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from converters import ConversionError, convert
from converters.steps.fresh import draw
from tests.cases import CASES
from tests.steps.common import kept, run, weights, write
from vit_config.weights import weight_table

CONFIG = CASES["tanh_head"]
HEAD = {"head.weight", "head.bias"}


def without(*names: str) -> dict[str, np.ndarray]:
    return {n: a for n, a in weights(CONFIG).items() if n not in names}


def test_missing_tensors_are_drawn_and_named(tmp_path):
    report, made = run(tmp_path, CONFIG, without(*HEAD), allow_missing="head.*", seed=3)
    assert report.steps == ("allow_missing:head.bias,head.weight:seed=3",)
    assert report.effects[0].drawn == ("head.bias", "head.weight")
    assert "not in the source, drawn at random: head.bias, head.weight" in str(report)
    kept(without(*HEAD), {n: a for n, a in made.items() if n not in HEAD}, but=set())
    for weight in weight_table(CONFIG):
        if weight.name in HEAD:
            assert np.array_equal(made[weight.name], draw(CONFIG, weight, 3))
    assert report.dropped == {}


def test_several_patterns_and_other_steps_go_together(tmp_path):
    report, made = run(
        tmp_path,
        CONFIG,
        without("head.bias", "blocks.1.norm2.weight", "blocks.1.norm2.bias"),
        allow_missing=("head.bias", "blocks.*.norm2.*"),
        image_size=64,
    )
    assert report.steps == (
        "allow_missing:blocks.1.norm2.bias,blocks.1.norm2.weight,head.bias:seed=0",
        "image_size:48x32->64x64:bicubic_aa",
    )
    assert (made["blocks.1.norm2.weight"] == 1).all()


def test_what_is_missing_and_not_named_stays_an_error(tmp_path):
    arrays = without(*HEAD, "norm.weight")
    with pytest.raises(ConversionError) as error:
        run(tmp_path, CONFIG, arrays, allow_missing="head.*")
    assert [issue.name for issue in error.value.issues] == ["norm.weight"]


@pytest.mark.parametrize("lacks", [(), ("norm.weight",)])
def test_a_pattern_that_nothing_missing_has_is_an_error(lacks, tmp_path):
    with pytest.raises(ConversionError, match=r'allow_missing="head\.\*": no missing'):
        run(tmp_path, CONFIG, without(*lacks), allow_missing=("head.*",))
    assert [path.name for path in tmp_path.iterdir()] == ["source.safetensors"]


def test_surplus_tensors_are_no_reason_to_draw(tmp_path):
    arrays = {**without(*HEAD), "fc.weight": weights(CONFIG)["head.weight"]}
    with pytest.raises(ConversionError, match=r"fc\.weight"):
        run(tmp_path, CONFIG, arrays, allow_missing="head.*")


def test_names_of_the_source_match_too(tmp_path):
    source = write(tmp_path / "a.safetensors", CASES["tanh_3d"].replace(norm_eps=1e-5))
    theirs = tmp_path / "b.safetensors"
    convert(source, theirs, to_dialect="monai")
    from safetensors import safe_open
    from safetensors.numpy import load_file

    with safe_open(theirs, framework="numpy") as file:
        about = file.metadata()
    arrays = load_file(theirs)
    del arrays["classification_head.0.bias"]
    save_file(arrays, theirs, about)
    report = convert(
        theirs, tmp_path / "c.safetensors", allow_missing="classification_head.0.*"
    )
    assert report.steps == ("allow_missing:head.bias:seed=0",)


def test_a_foreign_file_may_lack_what_its_config_asks_for(tmp_path):
    """The names then say less than the config, which is the missing tensors' fault."""
    config = CASES["tanh_3d"]
    source = write(tmp_path / "a.safetensors", config)
    theirs = tmp_path / "b.safetensors"
    convert(source, theirs, to_dialect="monai")
    from safetensors.numpy import load_file

    arrays = load_file(theirs)
    gone = [name for name in arrays if name.startswith("classification_head")]
    for name in gone:
        del arrays[name]
    save_file(arrays, theirs)
    target = tmp_path / "c.safetensors"
    with pytest.raises(ConversionError, match="num_classes"):
        convert(theirs, target, config=config, from_dialect="monai")
    report = convert(
        theirs, target, config=config, from_dialect="monai", allow_missing="head.*"
    )
    assert report.steps == ("allow_missing:head.bias,head.weight:seed=0",)
    with pytest.raises(ConversionError, match="no missing tensor has such a name"):
        convert(
            theirs,
            tmp_path / "d.safetensors",
            config=config.replace(num_classes=0, head_act=None, global_pool="none"),
            from_dialect="monai",
            allow_missing="head.*",
        )


def test_query_key_and_value_are_missing_as_a_whole_only(tmp_path):
    config = CASES["vit"].replace(
        img_size=(32, 32), patch_size=(8, 8), norm_eps=1e-12, head_act=None
    )
    source = write(tmp_path / "a.safetensors", config)
    theirs = tmp_path / "b.safetensors"
    convert(source, theirs, to_dialect="huggingface")
    from safetensors import safe_open
    from safetensors.numpy import load_file

    with safe_open(theirs, framework="numpy") as file:
        about = file.metadata()
    whole = load_file(theirs)
    names = [n for n in whole if "layer.1." in n or "layers.1." in n]
    parts = [n for n in names if n.endswith(".bias") and "attention" in n]
    parts = [
        n for n in parts if any(q in n for q in ("query", "key", "value", "_proj"))
    ]
    parts = [n for n in parts if "o_proj" not in n]
    assert len(parts) == 3
    for lacks, fine in ((parts[:1], False), (parts, True)):
        left = {n: a for n, a in whole.items() if n not in lacks}
        save_file(left, theirs, about)
        options = {"allow_missing": "*attention*", "force": True}
        if fine:
            report = convert(theirs, tmp_path / "c.safetensors", **options)
            assert report.effects[0].drawn == ("blocks.1.attn.qkv.bias",)
        else:
            with pytest.raises(ConversionError, match="no missing tensor"):
                convert(theirs, tmp_path / "c.safetensors", **options)
