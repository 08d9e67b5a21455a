"""MONAI's files of every release, in and out, by names written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from converters.conversion.convert import convert
from converters.errors import ConversionError
from tests.dialects.common import (
    MONAI,
    dead,
    monai_config,
    monai_file,
    monai_names,
    same,
)
from tests.fill import fill_weights
from vit_config import ConfigError, ViTConfig

RELEASES = ("0.7", "1.0", "1.4", "1.6")
TANH = MONAI["tanh"]


def canonical(path, tmp_path, **options):
    """The report, and the canonical tensors that a file becomes."""
    out = tmp_path / "canonical.safetensors"
    report = convert(path, out, force=True, **options)
    return report, load_file(out)


@pytest.mark.parametrize("perceptron", [False, True])
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("case", MONAI)
def test_import(case, release, perceptron, tmp_path):
    config = MONAI[case]
    path = monai_file(tmp_path / "m.safetensors", config, release, perceptron)
    report, found = canonical(path, tmp_path, config=config)
    assert same(found, fill_weights(config))
    suffix = "+perceptron" if perceptron else ""
    assert report.source_dialect == f"monai@{release}{suffix}"
    assert set(report.dropped) == set(dead(config, release))
    assert report.proved == len(found)


@pytest.mark.parametrize("perceptron", [False, True])
@pytest.mark.parametrize("release", ["0.7", "0.9", *RELEASES[1:]])
@pytest.mark.parametrize("case", MONAI)
def test_export_to_a_release(case, release, perceptron, tmp_path):
    config = MONAI[case]
    if release in ("0.7", "0.9") and config.qkv_bias:
        pytest.skip("MONAI has it since 1.0")
    if release == "0.7" and case == "bare":
        pytest.skip("MONAI has it since 0.9.1")
    first = monai_file(tmp_path / "m.safetensors", config, "1.6")
    convert(first, tmp_path / "m.keras", config=config)
    suffix = "+perceptron" if perceptron else ""
    to = f"monai@{release}{suffix}"
    out = tmp_path / "out.safetensors"
    report = convert(tmp_path / "m.keras", out, to_dialect=to)
    assert report.target_dialect == to
    wanted = monai_names(config, fill_weights(config), perceptron)
    for name, values in dead(config, release).items():
        value = 1.0 if name.endswith("norm_cross_attn.weight") else 0.0
        wanted[name] = np.full(values.shape, value, np.float32)
    assert same(load_file(out), wanted)


@pytest.mark.parametrize("perceptron", [False, True])
def test_there_and_back_keeps_the_variant(perceptron, tmp_path):
    path = monai_file(tmp_path / "m.safetensors", TANH, "1.4", perceptron)
    convert(path, tmp_path / "m.keras", config=TANH)
    report = convert(
        tmp_path / "m.keras", tmp_path / "b.safetensors", to_dialect="monai"
    )
    before, after = load_file(path), load_file(tmp_path / "b.safetensors")
    unread = dead(TANH, "1.4")
    assert set(after) == set(before)
    assert all(
        after[n].tobytes() == before[n].tobytes() for n in set(before) - set(unread)
    )
    assert report.target_dialect == f"monai@1.4{'+perceptron' * perceptron}"


@pytest.mark.parametrize("variant", ["monai@1.4+perceptron", "monai@0.9+conv"])
def test_written_file_says_itself_what_it_is(variant, tmp_path):
    path = monai_file(tmp_path / "m.safetensors", TANH, "1.4", True)
    convert(path, tmp_path / "m.keras", config=TANH)
    convert(tmp_path / "m.keras", tmp_path / "b.safetensors", to_dialect=variant)
    report, found = canonical(tmp_path / "b.safetensors", tmp_path)
    assert report.source_dialect == variant.removesuffix("+conv")
    assert same(found, fill_weights(TANH))


# ---- wrappers ------------------------------------------------------------------------

WRAPPERS = ["module.", "net.", "model.encoder.", "backbone.", "vision_encoder."]


@pytest.mark.parametrize("prefix", WRAPPERS)
def test_prefix_is_found(prefix, tmp_path):
    path = monai_file(tmp_path / "m.safetensors", TANH, prefix=prefix)
    report, found = canonical(path, tmp_path, config=TANH)
    assert same(found, fill_weights(TANH))
    assert all(name.startswith(prefix) for name in report.dropped)


def extra(*names):
    return {name: np.ones((2, 2), np.float32) for name in names}


def test_unetr_gives_its_encoder(tmp_path):
    config = MONAI["features"]
    others = extra("encoder1.layer.conv1.conv.weight", "decoder5.x", "out.conv.weight")
    path = monai_file(
        tmp_path / "m.safetensors",
        config,
        prefix="m.vit.",
        **{f"m.{name}": values for name, values in others.items()},
    )
    report, found = canonical(path, tmp_path, config=config)
    assert same(found, fill_weights(config))
    assert "UNETR" in report.dropped["m.decoder5.x"]


def test_auto_encoder_gives_its_encoder(tmp_path):
    config = MONAI["features"]
    others = extra("conv3d_transpose.weight", "conv3d_transpose_1.bias")
    path = monai_file(tmp_path / "m.safetensors", config, **others)
    report, found = canonical(path, tmp_path, config=config)
    assert same(found, fill_weights(config))
    assert "ViTAutoEnc" in report.dropped["conv3d_transpose_1.bias"]


def test_masked_autoencoder_gives_its_encoder(tmp_path):
    config = MONAI["headless_class"]
    named = monai_names(config, fill_weights(config), False) | dead(config, "1.6")
    for leaf in ("weight", "bias"):
        named[f"blocks.{config.depth}.{leaf}"] = named.pop(f"norm.{leaf}")
    named |= extra(
        "mask_tokens", "decoder_blocks.0.norm1.weight", "decoder_pred.weight"
    )
    save_file(named, tmp_path / "m.safetensors")
    report, found = canonical(tmp_path / "m.safetensors", tmp_path, config=config)
    assert same(found, fill_weights(config))
    assert report.source_dialect == "monai@mae"


# ---- what is missing, what is at odds -----------------------------------------------


def test_what_the_file_cannot_say_is_asked_for(tmp_path):
    path = monai_file(tmp_path / "m.safetensors", TANH)
    with pytest.raises(ConversionError) as error:
        convert(path, tmp_path / "m.keras")
    text = str(error.value)
    assert "num_heads and img_size are not in this file" in text
    assert 'changes={"num_heads": ' in text
    changes = {"num_heads": 3, "img_size": [16, 12, 20]}
    report, found = canonical(path, tmp_path, changes=changes)
    assert report.config.architecture() == TANH.architecture()
    assert same(found, fill_weights(TANH))


def test_perceptron_needs_its_patch(tmp_path):
    path = monai_file(tmp_path / "m.safetensors", TANH, perceptron=True)
    changes = {"num_heads": 3, "img_size": [16, 12, 20]}
    with pytest.raises(ConversionError, match="patch_size is not in this file"):
        convert(path, tmp_path / "m.keras", changes=changes)
    changes["patch_size"] = [4, 6, 5]
    report, _ = canonical(path, tmp_path, changes=changes)
    assert report.config.architecture() == TANH.architecture()


@pytest.mark.parametrize("preset", ["m3d-clip", "segvol", "brainiac"])
def test_presets_are_enough(preset, tmp_path):
    """Narrow copies: the preset's fields, but for the size."""
    size = {"embed_dim": 24, "depth": 1, "num_heads": 3, "mlp_dim": 8}
    config = ViTConfig.preset(preset, **size)
    path = monai_file(tmp_path / "m.safetensors", config, "1.0", preset != "brainiac")
    report, found = canonical(path, tmp_path, preset=preset, changes=size)
    assert report.config.architecture() == config.architecture()
    assert same(found, fill_weights(config))


ODD = {
    "embed_dim": ({"hidden_size": 48}, "24 in the file"),
    "depth": ({"num_layers": 3}, "2 in the file"),
    "mlp_dim": ({"mlp_dim": 40}, "36 in the file"),
    "in_chans": ({"in_channels": 3}, "2 in the file"),
    "patch_size": ({"patch_size": [4, 4, 5]}, r"\(4, 6, 5\) in the file"),
    "qkv_bias": ({"qkv_bias": True}, "False in the file"),
    "num_classes": ({"num_classes": 9}, "2 in the file"),
    "head_act": ({"post_activation": None}, "'tanh' in the file"),
}


@pytest.mark.parametrize("field", ODD)
def test_config_at_odds_with_the_file(field, tmp_path):
    changes, text = ODD[field]
    path = monai_file(tmp_path / "m.safetensors", TANH)
    wrong = monai_config(**{"classification": True, **changes})
    with pytest.raises(ConversionError, match=rf"{field}  found {text}"):
        convert(path, tmp_path / "m.keras", config=wrong)
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_grid_at_odds_with_the_file(tmp_path):
    path = monai_file(tmp_path / "m.safetensors", TANH)
    wrong = monai_config(classification=True, img_size=[16, 12, 40])
    with pytest.raises(ConversionError, match="position_embeddings"):
        convert(path, tmp_path / "m.keras", config=wrong)


def test_epsilon_of_another_library(tmp_path):
    path = monai_file(tmp_path / "m.safetensors", TANH)
    with pytest.raises(ConversionError, match="norm_eps  found 1e-05 in the file"):
        convert(path, tmp_path / "m.keras", config=TANH.replace(norm_eps=1e-6))


def test_monai_0_6_classifier_is_refused(tmp_path):
    named = monai_names(MONAI["bare"], fill_weights(MONAI["bare"]), False)
    del named["cls_token"]
    save_file(named, tmp_path / "m.safetensors")
    with pytest.raises(ConversionError, match="reads the first patch"):
        convert(tmp_path / "m.safetensors", tmp_path / "m.keras", config=MONAI["bare"])


HELD = {
    "norm_eps": {"norm_eps": 1e-6},
    "act_layer": {"act_layer": "gelu_tanh"},
    "init_values": {"init_values": 1e-5},
    "pos_embed": {"pos_embed": "none"},
    "reg_tokens": {"reg_tokens": 2},
    "global_pool": {"global_pool": "avg"},
    "qk_norm": {"qk_norm": True},
    "head_dim": {"head_dim": 16},
}


@pytest.mark.parametrize("field", HELD)
def test_what_monai_cannot_hold(field, tmp_path):
    config = TANH.replace(**HELD[field])
    save_file(fill_weights(config), tmp_path / "c.safetensors")
    with pytest.raises(ConversionError, match=rf"monai@1\.\d(?s:.)*{field}"):
        convert(
            tmp_path / "c.safetensors",
            tmp_path / "m.safetensors",
            config=config,
            to_dialect="monai",
        )
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"pos_embed_tokens": "all"}, "fold_cls_pos"),
        ({"head_bias": False}, "zero_bias:head_bias"),
        ({"proj_bias": False}, "zero_bias:proj_bias"),
    ],
)
def test_what_monai_holds_once_it_is_folded(change, step, tmp_path):
    config = TANH.replace(**change)
    save_file(fill_weights(config), tmp_path / "c.safetensors")
    report = convert(
        tmp_path / "c.safetensors",
        tmp_path / "m.safetensors",
        config=config,
        to_dialect="monai",
    )
    assert report.steps == (step,) and report.ok


# ---- traps -------------------------------------------------------------------------


def tampered(tmp_path, change, **options):
    path = monai_file(tmp_path / "m.safetensors", TANH, **options)
    arrays = load_file(path)
    change(arrays)
    save_file(arrays, path)
    with pytest.raises(ConversionError) as error:
        convert(path, tmp_path / "m.keras", config=TANH)
    assert not (tmp_path / "m.keras").exists()
    return str(error.value)


def test_extra_layer(tmp_path):
    def change(arrays):
        for name in [n for n in arrays if n.startswith("blocks.1.")]:
            arrays[name.replace("blocks.1.", "blocks.2.")] = arrays[name]

    assert "depth  found 3 in the file" in tampered(tmp_path, change)


def test_layer_after_a_gap(tmp_path):
    def change(arrays):
        arrays["blocks.7.norm1.weight"] = arrays["blocks.0.norm1.weight"]

    assert "unexpected  blocks.7.norm1.weight" in tampered(tmp_path, change)


def test_dead_tensor_of_a_layer_that_is_not_there(tmp_path):
    def change(arrays):
        arrays["blocks.2.norm_cross_attn.weight"] = np.ones(24, np.float32)

    assert "unexpected  blocks.2.norm_cross_attn.weight" in tampered(tmp_path, change)


def test_suffix_decoys(tmp_path):
    def change(arrays):
        arrays["evil.norm.weight"] = arrays.pop("norm.weight")

    text = tampered(tmp_path, change)
    assert "missing     norm.weight" in text
    assert "unexpected  evil.norm.weight" in text


def test_decoy_under_the_anchor_s_name(tmp_path):
    def change(arrays):
        name = "patch_embedding.position_embeddings"
        arrays[f"other.{name}"] = arrays[name]

    assert "unexpected  other.patch_embedding" in tampered(tmp_path, change)


def test_nan(tmp_path):
    def change(arrays):
        arrays["blocks.1.attn.qkv.weight"][3, 3] = np.nan

    assert "1 NaN" in tampered(tmp_path, change)


@pytest.mark.parametrize("kind", ["float64", "int8"])
def test_types(kind, tmp_path):
    def change(arrays):
        for name, values in arrays.items():
            arrays[name] = values.astype(kind)

    assert f"found {kind}" in tampered(tmp_path, change)


def test_two_models_in_one_file(tmp_path):
    one = load_file(monai_file(tmp_path / "a.safetensors", TANH, prefix="student."))
    two = load_file(monai_file(tmp_path / "a.safetensors", TANH, prefix="teacher."))
    path = tmp_path / "m.safetensors"
    save_file({**one, **{n: v * 2 for n, v in two.items()}}, path)
    with pytest.raises(ConversionError) as error:
        convert(path, tmp_path / "m.keras", config=TANH)
    assert "more than one model fits" in str(error.value)
    assert '"student."' in str(error.value) and '"teacher."' in str(error.value)
    assert "prefix=" in str(error.value)
    report, found = canonical(path, tmp_path, config=TANH, prefix="student.")
    assert same(found, fill_weights(TANH))
    assert report.steps == ("take_prefix:student.",)
    assert report.config.source.steps == ("take_prefix:student.",)
    assert any(name.startswith("teacher.") for name in report.dropped)


def test_another_dialect_is_said_to_be_wrong(tmp_path):
    path = monai_file(tmp_path / "m.safetensors", TANH)
    with pytest.raises(ConversionError, match="not timm's: there is no \""):
        convert(path, tmp_path / "m.keras", config=TANH, from_dialect="timm")
    with pytest.raises(ConversionError, match="no dialect"):
        convert(path, tmp_path / "m.keras", config=TANH, from_dialect="monia")


@pytest.mark.parametrize(
    "name, family",
    {
        "swinViT.layers1.x": "Swin UNETR",
        "image_encoder.blocks.0.attn.rel_pos_h": "SAM",
    }.items(),
)
def test_other_families_are_refused_by_name(name, family, tmp_path):
    save_file(extra(name), tmp_path / "m.safetensors")
    with pytest.raises(ConversionError, match=f"{family}.*not a plain ViT"):
        convert(tmp_path / "m.safetensors", tmp_path / "m.keras")


def test_unknown_arguments_of_the_library(tmp_path):
    path = monai_file(tmp_path / "m.safetensors", TANH)
    arguments = {"in_channels": 2, "img_size": 8, "patch_size": 4, "causal": True}
    with pytest.raises(ConfigError, match="causal: not a field of MONAI ViT"):
        convert(path, tmp_path / "m.keras", config=arguments, from_dialect="monai")


def test_prefix_ends_at_a_dot(tmp_path):
    path = monai_file(tmp_path / "m.safetensors", TANH, prefix="my_")
    with pytest.raises(ConversionError, match="those of no dialect"):
        convert(path, tmp_path / "m.keras", changes={"num_heads": 3})
