"""Folds: taken only where a target needs them, named, and the same outputs."""

from __future__ import annotations

import numpy as np
import pytest

from converters import ConversionError, convert
from converters.steps.folding import fitted
from tests.cases import CASES, FLAT, SOLID
from tests.fill import image
from tests.steps.common import call, run, torch_twin, weights, write
from vit_config import ViTConfig

MONAI = {"norm_eps": 1e-5, "head_act": "tanh"}


def exported(config: ViTConfig, to: str, tmp_path, **options):
    """Writes a dialect and reads it back: the report, the model before and after."""
    source = write(tmp_path / "source.safetensors", config)
    target = tmp_path / "target.safetensors"
    report = convert(source, target, to_dialect=to, **options)
    assert report.ok and report.config.source.steps == report.steps
    back = convert(target, tmp_path / "back.safetensors")
    assert back.config.architecture() == report.config.architecture()
    from safetensors.numpy import load_file

    made = load_file(tmp_path / "back.safetensors")
    models = torch_twin(config, weights(config)), torch_twin(report.config, made)
    x = image((2, config.in_chans, *config.img_size))
    return report, [call(model, x) for model in models], made


@pytest.mark.parametrize("case", ["vit", "registers"])
def test_class_position_is_folded_bit_by_bit(case, tmp_path):
    fields = {"reg_tokens": 2, "pos_embed_tokens": "cls"} if case == "registers" else {}
    to = "timm" if fields else "monai"
    config = ViTConfig(**{**FLAT, **({} if fields else MONAI), **fields})
    report, (before, after), made = exported(config, to, tmp_path)
    assert report.steps == ("fold_cls_pos",)
    assert report.config.pos_embed_tokens == "patch"
    assert np.array_equal(before, after)
    old = weights(config)
    assert np.array_equal(
        made["cls_token"][0, 0], old["cls_token"][0, 0] + old["pos_embed"][0, 0]
    )
    assert np.array_equal(made["pos_embed"], old["pos_embed"][:, 1:])
    if fields:
        assert np.array_equal(made["reg_token"], old["reg_token"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_says_how_far_the_fold_rounds(dtype, tmp_path):
    config = ViTConfig(**{**FLAT, "reg_tokens": 2, "pos_embed_tokens": "cls"})
    arrays = weights(config, dtype)
    report, made = run(tmp_path, config, arrays, to_dialect="timm")
    assert report.steps == ("fold_cls_pos",)
    old = {name: values.astype(np.float32) for name, values in arrays.items()}
    exact = old["cls_token"] + old["pos_embed"][:, :1]
    change = np.abs(made["cls_token"].astype(np.float32) - exact) / np.abs(exact)
    figures = report.effects[0].rounding
    assert figures["tensor"] == "cls_token" and figures["largest_relative_change"] > 0
    assert figures["largest_relative_change"] == pytest.approx(change.max(), rel=1e-6)
    # A cast to float32 comes first, and nothing is rounded.
    report, made = run(tmp_path, config, arrays, to_dialect="timm", dtype="float32")
    assert np.array_equal(made["cls_token"], exact)
    assert report.effects[-1].rounding["largest_relative_change"] == 0


def test_all_prefix_tokens_are_folded(tmp_path):
    from converters.mapping.pipe import MemorySource
    from converters.steps.folding import fold_cls_pos
    from converters.steps.stage import Staged

    config = CASES["distilled"].replace(reg_tokens=2)
    stage = fold_cls_pos(config)
    staged = Staged(MemorySource(weights(config)), stage)
    made = {name: staged.read(name) for name in staged.tensors}
    x = image((2, 3, *config.img_size))
    before = call(torch_twin(config, weights(config)), x)
    assert np.array_equal(call(torch_twin(stage.config, made), x), before)


@pytest.mark.parametrize(("dims", "to"), [(FLAT, "torchvision"), (FLAT, "huggingface")])
def test_zeros_stand_in_for_positions_and_biases(dims, to, tmp_path):
    square = {"img_size": 32, "patch_size": 8}
    config = ViTConfig(**{**dims, **square}, pos_embed_tokens="patch", qkv_bias=False)
    report, (before, after), made = exported(config, to, tmp_path)
    assert "zero_cls_pos" in report.steps
    assert not made["pos_embed"][0, 0].any()
    assert np.array_equal(before, after)
    if to == "torchvision":
        assert "zero_bias:qkv_bias" in report.steps
        assert not made["blocks.1.attn.qkv.bias"].any()


def test_keys_get_the_bias_they_store_already(tmp_path):
    square = {"img_size": 32, "patch_size": 8, "qkv_bias": "qv"}
    config = ViTConfig(**{**FLAT, **square})
    report, (before, after), made = exported(config, "torchvision", tmp_path)
    assert report.steps == ("full_qkv_bias",)
    assert np.array_equal(before, after)
    assert not np.split(made["blocks.0.attn.qkv.bias"], 3)[1].any()


def test_layer_scale_is_folded_only_when_allowed(tmp_path):
    config = ViTConfig(
        **{**SOLID, **MONAI, "pos_embed_tokens": "patch"}, init_values=1.0
    )
    source = write(tmp_path / "a.safetensors", config)
    with pytest.raises(ConversionError) as error:
        convert(source, tmp_path / "b.safetensors", to_dialect="monai")
    assert "init_values" in str(error.value)
    assert error.value.hint == (
        "fold=True would make it fit: fold_layer_scale (exact up to rounding only)."
    )
    assert not (tmp_path / "b.safetensors").exists()
    report, (before, after), made = exported(config, "monai", tmp_path, fold=True)
    assert report.steps == ("fold_layer_scale",)
    assert np.abs(before - after).max() < 2e-6
    assert not any("gamma" in name for name in made)
    old = weights(config)
    gamma = old["blocks.1.ls2.gamma"].astype(np.float64)
    for name, exact in (
        ("blocks.1.mlp.fc2.weight", old["blocks.1.mlp.fc2.weight"] * gamma[:, None]),
        ("blocks.1.mlp.fc2.bias", old["blocks.1.mlp.fc2.bias"] * gamma),
    ):
        assert np.array_equal(made[name], exact.astype(np.float32))
    figures = report.effects[0].rounding
    assert 1e-8 < figures["largest_relative_change"] <= 2**-24
    assert figures["zeroed"] == 0 and "largest relative change" in str(report)
    assert report.dropped == {}
    assert report.effects[0].notes[0].startswith("4 layer scales multiplied")


def test_nothing_is_folded_where_the_model_fits(tmp_path):
    config = CASES["vit"].replace(init_values=0.1)
    report, (before, after), _ = exported_plain(config, tmp_path)
    assert report.steps == () and np.array_equal(before, after)


def exported_plain(config, tmp_path):
    source = write(tmp_path / "source.safetensors", config)
    target = tmp_path / "target.safetensors"
    report = convert(source, target, to_dialect="timm", fold=True)
    x = image((2, config.in_chans, *config.img_size))
    from safetensors.numpy import load_file

    made = load_file(target)
    models = torch_twin(config, weights(config)), torch_twin(report.config, made)
    return report, [call(model, x) for model in models], made


def test_what_no_fold_helps_is_refused_with_the_reasons(tmp_path):
    config = ViTConfig(**{**SOLID, **MONAI, "act_layer": "gelu_tanh"}, init_values=1.0)
    with pytest.raises(ConversionError, match="act_layer  'gelu_tanh'") as error:
        fitted("monai", config, True)
    assert "folded or not" in error.value.hint


def test_dialect_that_is_none_is_named(tmp_path):
    source = write(tmp_path / "a.safetensors", CASES["vit"])
    with pytest.raises(ConversionError, match='no dialect "nope"') as error:
        convert(source, tmp_path / "b.safetensors", to_dialect="nope")
    assert "cannot hold this model" not in str(error.value)
