"""What `ViTConfig` refuses, and what it says then."""

from __future__ import annotations

import math
from typing import Any

import pytest

from converters.libraries.config import DIALECTS
from vit_config import SCHEMA_VERSION, ConfigError, ViTConfig
from vit_config.errors import FOREIGN_NAMES

BASE: dict[str, Any] = {
    "img_size": (48, 32),
    "patch_size": (8, 16),
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 36,
}


VOLUME: dict[str, Any] = {"spatial_dims": 3, "img_size": 32, "patch_size": 16}


def config(**changes: Any) -> ViTConfig:
    return ViTConfig(**{**BASE, **changes})


def refusal(**changes: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config(**changes)
    return caught.value


# ---- what is refused: fields, the start of the line, what else it says, a cure ------

REFUSED = {
    "axes of img_size": (
        {"spatial_dims": 2, "img_size": (32, 32, 32)},
        "img_size: (32, 32, 32) has 3 axes",
        "spatial_dims=2 needs 2",
        {"img_size": (32, 32)},
    ),
    "axes of patch_size": (
        {"spatial_dims": 3, "img_size": 32, "patch_size": (16, 16)},
        "patch_size: (16, 16) has 2 axes",
        "one int for all",
        {"patch_size": 16},
    ),
    "patch does not divide": (
        {"img_size": (48, 40)},
        "img_size: 40 on axis 1 is not a multiple of patch_size 16",
        "32 or 48 would be",
        {"img_size": (48, 48)},
    ),
    "patch larger than image": (
        {"img_size": (4, 32)},
        "img_size: 4 on axis 0 is not a multiple of patch_size 8",
        "; 8 would be",
        {"img_size": (8, 32)},
    ),
    "heads": (
        {"num_heads": 5},
        "num_heads: 5 does not divide embed_dim 24",
        "state head_dim",
        {"head_dim": 8},
    ),
    "heads of the attention pooling": (
        {"num_heads": 5, "head_dim": 8, "global_pool": "map"},
        "num_heads: 5 does not divide embed_dim 24",
        "global_pool='map' needs",
        {"num_heads": 6},
    ),
    "gate of swiglu": (
        {"mlp_layer": "swiglu"},
        "act_layer: 'gelu' with mlp_layer='swiglu'",
        "'silu'",
        {"act_layer": "silu"},
    ),
    "swiglu and attention pooling": (
        {"mlp_layer": "swiglu", "act_layer": "silu", "global_pool": "map"},
        "mlp_layer: 'swiglu' with global_pool='map'",
        "plain one",
        {"global_pool": "avg"},
    ),
    "distillation token alone": (
        {"class_token": False, "global_pool": "avg", "dist_token": True},
        "dist_token: True",
        "needs class_token=True",
        {"class_token": True},
    ),
    "pooling without its token": (
        {"class_token": False},
        "global_pool: 'token'",
        "use 'avg', 'max', 'map' or 'none'",
        {"global_pool": "avg"},
    ),
    "pooling half its tokens": (
        {"class_token": False, "global_pool": "token_avg"},
        "global_pool: 'token_avg'",
        "needs class_token=True",
        {"class_token": True},
    ),
    "position of a missing token": (
        {"class_token": False, "global_pool": "avg", "pos_embed_tokens": "cls"},
        "pos_embed_tokens: 'cls'",
        "use 'all' or 'patch'",
        {"pos_embed_tokens": "patch"},
    ),
    "distilled without its token": (
        {"distilled": True},
        "distilled: True",
        "needs dist_token=True and global_pool='token'",
        {"dist_token": True},
    ),
    "distilled and pooled": (
        {"distilled": True, "dist_token": True, "global_pool": "avg"},
        "distilled: True",
        "global_pool='avg'",
        {"global_pool": "token"},
    ),
    "distilled and a representation": (
        {"distilled": True, "dist_token": True, "representation_size": 20},
        "representation_size: 20 with distilled=True",
        "no known model",
        {"representation_size": None},
    ),
    "prefix in a pooling that reads one token": (
        {"pool_include_prefix": True},
        "pool_include_prefix: True",
        "use it with 'avg'",
        {"global_pool": "avg"},
    ),
    "classes without pooling": (
        {"global_pool": "none", "num_classes": 3},
        "num_classes: 3",
        "global_pool is 'none'",
        {"num_classes": 0},
    ),
    "norm of nothing pooled": (
        {"global_pool": "none", "fc_norm": True},
        "fc_norm: True",
        "global_pool is 'none'",
        {"global_pool": "avg"},
    ),
    "representation of nothing pooled": (
        {"global_pool": "none", "representation_size": 20},
        "representation_size: 20",
        "global_pool is 'none'",
        {"global_pool": "max"},
    ),
    "epsilon of no norm": (
        {"fc_norm_eps": 1e-5},
        "fc_norm_eps: 1e-05",
        "without fc_norm=True",
        {"fc_norm": True},
    ),
    "activation of no head": (
        {"head_act": "tanh"},
        "head_act: 'tanh'",
        "without a head (num_classes=0)",
        {"num_classes": 2},
    ),
    "an older schema": (
        {"schema_version": 0},
        "schema_version: 0",
        f"writes and reads {SCHEMA_VERSION}",
        {"schema_version": SCHEMA_VERSION},
    ),
    "problem of no head": (
        {"problem_type": "regression"},
        "problem_type: 'regression'",
        "without a head (num_classes=0)",
        {"num_classes": 1},
    ),
    "labels": (
        {"labels": ("cat", "dog"), "num_classes": 3},
        "labels: 2 names",
        "num_classes=3",
        {"num_classes": 2},
    ),
    "channels of mean": (
        {"data": {"mean": [0.5]}},
        "data.mean: 1 values",
        "in_chans=3",
        {"in_chans": 1},
    ),
    "channels of std": (
        {"data": {"std": [0.5, 0.5]}},
        "data.std: 2 values",
        "in_chans=3",
        {"in_chans": 2},
    ),
    "axes of the data": (
        {"data": {"axes": ["X", "Y", "Z"]}},
        "data.axes: 3 values",
        "spatial_dims=2",
        {"data": {"axes": ["H", "W"]}},
    ),
    "spacing of the data": (
        {"data": {"spacing_mm": [1.0]}},
        "data.spacing_mm: 1 values",
        "spatial_dims=2",
        {"data": {"spacing_mm": [1.0, 2.0]}},
    ),
    "two of a kind in an orientation": (
        {**VOLUME, "data": {"orientation": "RAL"}},
        "data.orientation: found 'RAL'",
        "a letter of each of LR, PA and IS",
        {"data": {"orientation": "RAI"}},
    ),
    "axes of another orientation": (
        {**VOLUME, "data": {"orientation": "RAS", "axes": ["Z", "Y", "X"]}},
        "data.axes: found ('Z', 'Y', 'X')",
        "'RAS' is of ('X', 'Y', 'Z')",
        {"data": {"orientation": "SAR", "axes": ["Z", "Y", "X"]}},
    ),
    "no spacing": (
        {**VOLUME, "data": {"spacing_mm": [1.0, 0.0, 1.0]}},
        "data.spacing_mm: found (1.0, 0.0, 1.0)",
        "above 0",
        {"data": {"spacing_mm": [1.0, 0.5, 1.0]}},
    ),
    "one spacing and any": (
        {**VOLUME, "data": {"spacing_mode": "keep", "spacing_mm": [1.0, 1.0, 1.0]}},
        "data.spacing_mode: 'keep'",
        "state one of them",
        {"data": {"spacing_mode": "keep"}},
    ),
    "a resize that pads": (
        {**VOLUME, "data": {"fit": "resize", "pad_value": 0.0}},
        "data.pad_value: found 0.0",
        "fit='resize'",
        {"data": {"fit": "pad_or_crop", "pad_value": 0.0}},
    ),
    "an image that is padded as a volume": (
        {"data": {"fit": "pad_or_crop"}},
        "data.fit: found 'pad_or_crop'",
        "spatial_dims=3",
        {"data": {}},
    ),
    "an image that is resized as a volume": (
        {"data": {"interpolation": "area"}},
        "data.interpolation: found 'area'",
        "'bilinear'",
        {"data": {"interpolation": "bilinear"}},
    ),
    "a window that ends before it begins": (
        {"data": {"intensity": {"kind": "window", "low": 5.0, "high": 5.0}}},
        "data.intensity.low: found 5.0",
        "below high",
        {"data": {"intensity": {"kind": "window", "low": 5.0, "high": 6.0}}},
    ),
    "a percentile of more than all": (
        {"data": {"intensity": {"kind": "percentile", "high": 101.0}}},
        "data.intensity.high: found 101.0",
        "from 0 to 100",
        {"data": {"intensity": {"kind": "percentile", "high": 100.0}}},
    ),
    "a z-score that is clipped": (
        {"data": {"intensity": {"kind": "zscore", "clip": True}}},
        "data.intensity.clip: found True",
        "no range",
        {"data": {"intensity": {"kind": "zscore"}}},
    ),
    "a window of what is not 0": (
        {"data": {"intensity": {"kind": "window", "nonzero": True}}},
        "data.intensity.nonzero: found True",
        "'zscore' only",
        {"data": {"intensity": {"kind": "zscore", "nonzero": True}}},
    ),
    "a window for each channel": (
        {"data": {"intensity": {"kind": "window", "channel_wise": True}}},
        "data.intensity.channel_wise: found True",
        "same for all channels",
        {"data": {"intensity": {"kind": "percentile", "channel_wise": True}}},
    ),
    # one field alone: type and range
    "a float for an int": ({"depth": 2.0}, "depth: found 2.0", "integer", {"depth": 2}),
    "a bool for an int": (
        {"depth": True},
        "depth: found True",
        "integer",
        {"depth": 1},
    ),
    "an int for a bool": (
        {"pre_norm": 1},
        "pre_norm: found 1",
        "true or false",
        {"pre_norm": True},
    ),
    "text for a number": (
        {"norm_eps": "1e-6"},
        "norm_eps: found '1e-6'",
        "number",
        {"norm_eps": 1e-6},
    ),
    "zero layers": (
        {"depth": 0},
        "depth: found 0",
        "1 or more",
        {"depth": 1},
    ),
    "negative classes": (
        {"num_classes": -1},
        "num_classes: found -1",
        "0 or more",
        {"num_classes": 0},
    ),
    "a rate of one": (
        {"drop_rate": 1.0},
        "drop_rate: found 1.0",
        "less than 1",
        {"drop_rate": 0.99},
    ),
    "no epsilon": (
        {"norm_eps": 0.0},
        "norm_eps: found 0.0",
        "more than 0",
        {"norm_eps": 1e-12},
    ),
    "not a number": (
        {"init_values": math.nan},
        "init_values: found nan",
        "finite",
        {"init_values": 1e-5},
    ),
    "four axes": (
        {"spatial_dims": 4},
        "spatial_dims: found 4",
        "2 or 3",
        {"spatial_dims": 2},
    ),
    "an unknown word": (
        {"pos_resize": "cubic"},
        "pos_resize: found 'cubic'",
        "'bicubic_aa'",
        {"pos_resize": "bicubic"},
    ),
    "neither of a union": (
        {"qkv_bias": "kv"},
        "qkv_bias: found 'kv'",
        "true or false or 'qv'",
        {"qkv_bias": "qv"},
    ),
    "one axis of a size": (
        {"img_size": (48, "32")},
        "img_size.1: found '32'",
        "integer",
        {"img_size": (48, 32)},
    ),
    "an intensity": (
        {"data": {"intensity": {"kind": "minmax"}}},
        "data.intensity.kind: found 'minmax'",
        "'window', 'percentile' or 'zscore'",
        {"data": {"intensity": {"kind": "window", "low": -1000.0, "high": 1000.0}}},
    ),
    "an unknown field of a section": (
        {"source": {"nme": "x"}},
        "source.nme: not a field of source",
        "did you mean 'name'",
        {"source": {"name": "x"}},
    ),
    "a misspelled field": (
        {"embd_dim": 24},
        "embd_dim: not a field of this schema",
        "did you mean 'embed_dim'?",
        None,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_names_field_value_and_remedy(name: str) -> None:
    changes, start, remedy, cure = REFUSED[name]
    (line,) = refusal(**changes).problems
    assert line.startswith(start)
    assert remedy in line
    if cure is not None:
        config(**{**changes, **cure})


def test_all_problems_are_reported_at_once() -> None:
    error = refusal(num_heads=5, fc_norm_eps=1e-5, labels=("a",), head_act="tanh")
    fields = [line.partition(":")[0] for line in error.problems]
    assert fields == ["num_heads", "fc_norm_eps", "head_act", "labels"]
    assert str(error) == "\n  ".join(["ViTConfig: 4 problems", *error.problems])


def test_all_fields_of_wrong_type_are_reported_at_once() -> None:
    error = refusal(depth="x", fc_norm=0, img_siz=3)
    assert {line.partition(":")[0] for line in error.problems} == {
        "depth",
        "fc_norm",
        "img_siz",
    }


@pytest.mark.parametrize("field", BASE)
def test_required_field(field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ViTConfig(**{k: v for k, v in BASE.items() if k != field})
    assert caught.value.problems == (f"{field}: required, but not given",)


@pytest.mark.parametrize("name", FOREIGN_NAMES)
def test_foreign_name_is_refused_and_explained(name: str) -> None:
    field, library = FOREIGN_NAMES[name]
    (line,) = refusal(**{name: 1}).problems
    assert line.startswith(f"{name}: ")
    assert repr(field) in line
    assert field in ViTConfig.model_fields
    assert name not in ViTConfig.model_fields
    assert ("from_dialect" in line) == (library in DIALECTS)


def test_newer_schema_is_refused_first_and_alone() -> None:
    error = refusal(schema_version=SCHEMA_VERSION + 1, unheard_of=1, depth="x")
    (line,) = error.problems
    assert "newer vit-duet" in line
    assert str(SCHEMA_VERSION + 1) in line
