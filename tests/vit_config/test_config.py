"""Laws of `ViTConfig` as a value: what it derives, when two are equal, copies."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vit_config
from vit_config import (
    SCHEMA_VERSION,
    ConfigError,
    DataConfig,
    RopeConfig,
    SourceConfig,
    ViTConfig,
)

BASE: dict[str, Any] = {
    "img_size": (48, 32),
    "patch_size": (8, 16),
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 36,
}


def config(**changes: Any) -> ViTConfig:
    return ViTConfig(**{**BASE, **changes})


# ---- what is derived --------------------------------------------------------------


def test_int_size_is_repeated_over_the_axes() -> None:
    assert config(img_size=32, patch_size=16) == config(
        img_size=(32, 32), patch_size=(16, 16)
    )
    volume = config(spatial_dims=3, img_size=32, patch_size=16)
    assert (volume.img_size, volume.patch_size) == ((32, 32, 32), (16, 16, 16))


def test_grid_follows_the_axes() -> None:
    model = config(spatial_dims=3, img_size=(32, 24, 16), patch_size=(16, 8, 4))
    assert model.grid_size == (2, 3, 4)
    assert model.num_patches == 24


@pytest.mark.parametrize(
    ("changes", "prefix", "rows"),
    [
        ({}, 1, 13),
        ({"reg_tokens": 4}, 5, 17),
        ({"reg_tokens": 4, "pos_embed_tokens": "cls"}, 5, 13),
        ({"reg_tokens": 4, "pos_embed_tokens": "patch"}, 5, 12),
        ({"dist_token": True}, 2, 14),
        ({"dist_token": True, "pos_embed_tokens": "cls"}, 2, 13),
        ({"pos_embed": "none"}, 1, 0),
        ({"pos_embed": "sincos"}, 1, 13),
        ({"class_token": False, "global_pool": "avg"}, 0, 12),
        ({"class_token": False, "global_pool": "avg", "reg_tokens": 2}, 2, 14),
    ],
)
def test_tokens_and_positions(changes: dict[str, Any], prefix: int, rows: int) -> None:
    model = config(**changes)
    assert model.num_prefix_tokens == prefix
    assert model.num_tokens == prefix + 12
    assert model.num_pos_tokens == rows


def test_widths() -> None:
    assert (config().attn_head_dim, config().attn_dim) == (8, 24)
    assert (config(head_dim=10).attn_head_dim, config(head_dim=10).attn_dim) == (10, 30)
    assert (config().pool_dim, config().head_in_dim) == (24, 24)
    pair = config(global_pool="token_avg")
    assert (pair.pool_dim, pair.head_in_dim) == (48, 48)
    assert pair.replace(representation_size=20).head_in_dim == 20
    assert pair.replace(representation_size=20).pool_dim == 48


def test_defaults_that_depend_on_other_fields() -> None:
    assert config(norm_eps=1e-3).head_norm_eps == 1e-3
    assert config(norm_eps=1e-3, fc_norm=True, fc_norm_eps=1e-5).head_norm_eps == 1e-5
    assert config().pos_resize_rule == "bicubic_aa"
    volume = config(spatial_dims=3, img_size=32, patch_size=16)
    assert volume.pos_resize_rule == "bilinear"
    assert volume.replace(pos_resize="zoom1").pos_resize_rule == "zoom1"
    assert config(num_classes=1).classification
    assert not config().classification


def test_drop_path_grows_linearly_to_the_last_block() -> None:
    assert config(depth=3, drop_path_rate=0.4).drop_path_rates == (0.0, 0.2, 0.4)
    assert config(depth=1, drop_path_rate=0.4).drop_path_rates == (0.0,)


def test_sincos_needs_no_divisible_width() -> None:
    """The table is stored: VideoMAE-L has 1024 columns for three axes."""
    fields = {"spatial_dims": 3, "img_size": 32, "patch_size": 16, "num_heads": 4}
    assert config(**fields, embed_dim=32, pos_embed="sincos").num_pos_tokens == 9


# ---- two models are equal ---------------------------------------------------------

CHANGES: dict[str, Any] = {
    "spatial_dims": {"spatial_dims": 3, "img_size": 16, "patch_size": 16},
    "img_size": {"img_size": (32, 48)},
    "patch_size": {"patch_size": (16, 8)},
    "in_chans": {"in_chans": 1},
    "embed_dim": {"embed_dim": 48},
    "depth": {"depth": 3},
    "num_heads": {"num_heads": 4},
    "head_dim": {"head_dim": 10},
    "mlp_dim": {"mlp_dim": 48},
    "patch_bias": {"patch_bias": False},
    "patch_norm": {"patch_norm": "post"},
    "pre_norm": {"pre_norm": True},
    "class_token": {"class_token": False},
    "dist_token": {"dist_token": True},
    "reg_tokens": {"reg_tokens": 1},
    "pos_embed": {"pos_embed": "sincos"},
    "pos_embed_tokens": {"pos_embed_tokens": "patch"},
    "pos_resize": {"pos_resize": "bicubic"},
    "rope": {"rope": RopeConfig(kind="dinov3")},
    "norm_eps": {"norm_eps": 1e-5},
    "qkv_bias": {"qkv_bias": "qv"},
    "proj_bias": {"proj_bias": False},
    "mlp_bias": {"mlp_bias": False},
    "qk_norm": {"qk_norm": True},
    "init_values": {"init_values": 1e-5},
    "act_layer": {"act_layer": "silu"},
    "mlp_layer": {"mlp_layer": "swiglu", "act_layer": "silu"},
    "final_norm": {"final_norm": False},
    "fc_norm": {"fc_norm": False},
    "fc_norm_eps": {"fc_norm_eps": 1e-5},
    "global_pool": {"global_pool": "max"},
    "pool_include_prefix": {"pool_include_prefix": True},
    "distilled": {"distilled": True, "dist_token": True, "global_pool": "token"},
    "representation_size": {"representation_size": 20},
    "num_classes": {"num_classes": 4},
    "head_bias": {"head_bias": False},
    "head_act": {"head_act": "tanh"},
    "drop_rate": {"drop_rate": 0.1},
    "pos_drop_rate": {"pos_drop_rate": 0.1},
    "proj_drop_rate": {"proj_drop_rate": 0.1},
    "attn_drop_rate": {"attn_drop_rate": 0.1},
    "drop_path_rate": {"drop_path_rate": 0.1},
    "weight_init": {"weight_init": "monai"},
    "problem_type": {"problem_type": "regression"},
}
NEUTRAL: dict[str, Any] = {
    "data": {"data": DataConfig(crop_pct=0.9)},
    "labels": {"labels": ("a", "b", "c")},
    "source": {"source": SourceConfig(name="x")},
}
ONE_VALUE = {"schema_version", "norm_layer"}
RICH = {"global_pool": "avg", "fc_norm": True, "num_classes": 3}


def test_every_field_is_said_to_be_architecture_or_not() -> None:
    assert {*CHANGES, *NEUTRAL, *ONE_VALUE} == set(ViTConfig.model_fields)


@pytest.mark.parametrize("field", CHANGES)
def test_architecture_changes_with(field: str) -> None:
    before, after = config(**RICH), config(**{**RICH, **CHANGES[field]})
    assert before.architecture()[field] != after.architecture()[field]
    assert before.architecture_hash() != after.architecture_hash()


@pytest.mark.parametrize("field", NEUTRAL)
def test_architecture_does_not_change_with(field: str) -> None:
    before, after = config(**RICH), config(**{**RICH, **NEUTRAL[field]})
    assert before != after
    assert before.architecture() == after.architecture()
    assert before.architecture_hash() == after.architecture_hash()


@pytest.mark.parametrize(
    "stated",
    [
        {"head_dim": 8},
        {"fc_norm_eps": 1e-6},
        {"pos_resize": "bicubic_aa"},
    ],
)
def test_a_default_written_out_is_the_same_architecture(stated: dict[str, Any]) -> None:
    before, after = config(**RICH), config(**RICH, **stated)
    assert before != after
    assert before.architecture_hash() == after.architecture_hash()


def test_architecture_hash_is_the_same_for_ever() -> None:
    """Records of earlier versions hold this hash."""
    assert config(**RICH).architecture_hash() == (
        "6ea6060e4adf03f57c99d90433cef9c20e4422c36a87bd3302c96aeea0f4adee"
    )


# ---- a value ----------------------------------------------------------------------


def test_frozen() -> None:
    model = config(data={"crop_pct": 0.9})
    with pytest.raises(ConfigError, match="depth: configs do not change"):
        model.depth = 3  # type: ignore[misc]
    with pytest.raises(ConfigError, match="crop_pct: configs do not change"):
        model.data.crop_pct = 1.0  # type: ignore[union-attr,misc]
    with pytest.raises(ConfigError, match="depth: configs do not change"):
        del model.depth


def test_equal_configs_are_one_value() -> None:
    assert hash(config()) == hash(config(schema_version=SCHEMA_VERSION))
    assert len({config(), config(), config(depth=3)}) == 2


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_copies_are_equal(copied: Any) -> None:
    model = config(data={"mean": [0.1, 0.2, 0.3]}, labels=("a",), num_classes=1)
    assert copied(model) == model


def test_replace_validates_and_leaves_the_original() -> None:
    model = config()
    assert model.replace(depth=5) == config(depth=5)
    assert model == config()
    with pytest.raises(ConfigError, match="num_heads: 5"):
        model.replace(num_heads=5)
    with pytest.raises(ConfigError, match="did you mean 'depth'"):
        model.replace(deph=5)


# ---- imports ----------------------------------------------------------------------

HEAVY = {
    *("h5py", "jax", "keras", "monai", "numpy", "safetensors", "tensorflow"),
    *("timm", "torch", "torchvision", "transformers", "vit_pytorch"),
}


def test_the_schema_imports_no_array_library() -> None:
    """Of every module of the package, in a fresh process."""
    code = (
        "import importlib, pkgutil, sys, vit_config\n"
        "for m in pkgutil.walk_packages(vit_config.__path__, 'vit_config.'):\n"
        "    importlib.import_module(m.name)\n"
        f"print(*sorted({HEAVY} & set(sys.modules)))\n"
    )
    root = Path(vit_config.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
