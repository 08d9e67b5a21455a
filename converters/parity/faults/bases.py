"""The four models that every fault is done to.

Small, and between them they have every weight of the table. No two axes of an image, a
grid or a patch are equal but where a fault needs it: a transposed image must have the
shape of the image.

The residual stream is kept as small as that of trained models: what is written to it is
an eighth of the usual fill. Its variance is about 1e-2, in which an epsilon counts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from converters.mapping.pipe import Array
from converters.parity.faults.base import Model
from converters.workers.fill import fill, is_faint
from vit_config import ViTConfig
from vit_config.weights import weight_table

STREAM = 0.125

PLANE: dict[str, Any] = {
    "img_size": (32, 32),  # equal: may be transposed
    "patch_size": (8, 4),  # 4 x 8 patches
    "in_chans": 3,
    "embed_dim": 48,
    "depth": 3,
    "num_heads": 4,
    "mlp_dim": 80,
    "dist_token": True,
    "distilled": True,
    "num_classes": 10,
    "drop_rate": 0.1,
    "proj_drop_rate": 0.1,
    "problem_type": "single_label",
    "labels": [f"class {i}" for i in range(10)],
    "data": {
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "input_range": [0.0, 1.0],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
    },
}
"""2D classification, as DeiT has it."""

PLANE_FEATURES: dict[str, Any] = {
    "img_size": (24, 32),
    "patch_size": (8, 8),  # 3 x 4 patches; equal: a kernel may be transposed
    "in_chans": 3,
    "embed_dim": 64,
    "depth": 3,
    "num_heads": 4,
    "mlp_dim": 96,
    "reg_tokens": 5,
    "pos_embed_tokens": "cls",
    "pre_norm": True,
    "qk_norm": True,
    "init_values": 0.1,
    "global_pool": "map",
    "fc_norm": True,
    "fc_norm_eps": 1e-5,
    "representation_size": 40,
    "attn_drop_rate": 0.1,
    "drop_path_rate": 0.1,
    "data": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.5, 0.5],
        "input_range": [0.0, 1.0],
        "interpolation": "bilinear",
        "crop_mode": "squash",
    },
}
"""2D features with registers and everything that a block can have."""

VOLUME: dict[str, Any] = {
    "spatial_dims": 3,
    "img_size": (16, 16, 24),  # the first two equal: may be transposed
    "patch_size": (8, 4, 8),  # 2 x 4 x 3 patches
    "in_chans": 2,
    "embed_dim": 60,
    "depth": 3,
    "num_heads": 5,
    "mlp_dim": 84,
    "qkv_bias": False,
    "norm_eps": 1e-5,
    "pos_embed_tokens": "patch",
    "num_classes": 3,
    "head_act": "tanh",
    "drop_rate": 0.1,
    "pos_drop_rate": 0.1,
    "proj_drop_rate": 0.1,
    "weight_init": "monai",
    "labels": ["background", "left", "right"],
    "data": {
        "axes": ["X", "Y", "Z"],
        "orientation": "RAS",
        "spacing_mm": [1.0, 1.5, 2.0],
        "spacing_mode": "bilinear",
        "intensity": {"kind": "window", "low": -175.0, "high": 250.0},
        "input_range": [0.0, 1.0],
        "fit": "pad_or_crop",
        "fit_first": False,
        "pad_value": 0.0,
    },
}
"""3D classification, as MONAI's `ViT(classification=True)`."""

VOLUME_FEATURES: dict[str, Any] = {
    "spatial_dims": 3,
    "img_size": (16, 24, 8),
    "patch_size": (4, 8, 4),  # 4 x 3 x 2 patches
    "in_chans": 1,
    "embed_dim": 56,
    "depth": 3,
    "num_heads": 4,
    "head_dim": 10,
    "mlp_dim": 72,
    "patch_norm": "dual",
    "class_token": False,
    "global_pool": "none",
    "qkv_bias": "qv",
    "mlp_layer": "swiglu",
    "act_layer": "silu",
    "drop_path_rate": 0.2,
    "data": {
        "axes": ["T", "H", "W"],
        "spacing_mm": [1.0, 2.0, 3.0],
        "intensity": {"kind": "zscore", "nonzero": True},
        "fit": "resize",
        "fit_first": True,
        "interpolation": "bilinear",
    },
}
"""3D tokens, with separate norms around the patches and gated MLPs."""

BASES: dict[str, ViTConfig] = {
    "2D classification": ViTConfig(**PLANE),
    "2D features": ViTConfig(**PLANE_FEATURES),
    "3D classification": ViTConfig(**VOLUME),
    "3D features": ViTConfig(**VOLUME_FEATURES),
}
"""The models by name."""


@lru_cache(maxsize=8)
def base_model(name: str) -> Model:
    """One of the four with its weights, the same bits everywhere.

    Raises:
        KeyError: If there is none of that name.
    """
    config = BASES[name]
    return Model(
        config,
        {w.name: filled(config, w.name, w.shape) for w in weight_table(config)},
    )


def filled(config: ViTConfig, name: str, shape: tuple[int, ...]) -> Array:
    """The fill of one weight of such a model."""
    values = fill(name, shape)
    if is_faint(name):
        values = values * np.float32(STREAM)
    if config.qkv_bias == "qv" and name.endswith(".attn.qkv.bias"):
        width = config.attn_dim
        values[width : 2 * width] = 0.0
    return values
