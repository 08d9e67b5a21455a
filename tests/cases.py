"""Small named models which together use every flag of the schema.

No two axes of an image, a grid or a patch are equal where a mix-up could hide, and the
widths differ from each other. Most share one geometry: JAX then compiles each operation
once. `wide` has the width of a ViT-B, because a matrix product of several blocks sums
in another order than one of a single block.
"""

from __future__ import annotations

from typing import Any

from vit_config import ViTConfig

FLAT: dict[str, Any] = {
    "img_size": (48, 32),
    "patch_size": (8, 16),  # 6 x 2 patches
    "in_chans": 3,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 36,
    "num_classes": 3,
}
"""A small 2D model."""

SOLID: dict[str, Any] = {
    **FLAT,
    "spatial_dims": 3,
    "img_size": (32, 24, 16),
    "patch_size": (8, 8, 8),  # 4 x 3 x 2 patches
    "in_chans": 1,
}
"""A small 3D model."""

THIN = {**SOLID, "patch_size": (8, 4, 8)}  # 4 x 6 x 2 patches

NO_CLASS = {"class_token": False, "global_pool": "avg"}
FEATURES = {"num_classes": 0, "global_pool": "none"}

FIELDS: dict[str, dict[str, Any]] = {
    # heads
    "vit": FLAT,
    "one_class": {**FLAT, "num_classes": 1, "problem_type": "regression"},
    "two_classes": {**FLAT, "num_classes": 2, "head_bias": False},
    "tanh_head": {**FLAT, "representation_size": 20, "head_act": "tanh"},
    "pooled": {**FLAT, "num_classes": 0},
    "pooled_representation": {
        **{**FLAT, "num_classes": 0},
        **{"representation_size": 20, "fc_norm": True},
    },
    "distilled": {**FLAT, "dist_token": True, "distilled": True},
    "distilled_pooled": {
        **{**FLAT, "num_classes": 0},
        **{"dist_token": True, "distilled": True},
    },
    "dist_token": {**FLAT, "dist_token": True},
    # pooling
    "avg": {**FLAT, **NO_CLASS},
    "avg_prefix": {**FLAT, "global_pool": "avg", "pool_include_prefix": True},
    "headless_class_token": {**FLAT, "global_pool": "avg", "num_classes": 0},
    "max": {**FLAT, "global_pool": "max"},
    "token_avg": {**FLAT, "global_pool": "token_avg", "fc_norm": True},
    "map": {**FLAT, "class_token": False, "global_pool": "map"},
    "map_prefix": {
        **FLAT,
        **{"global_pool": "map", "pool_include_prefix": True, "mlp_bias": False},
    },
    "tokens": {**FLAT, **FEATURES},
    "raw_tokens": {**FLAT, **FEATURES, "final_norm": False},
    # tokens and positions
    "registers": {**FLAT, "reg_tokens": 2},
    "registers_alone": {**FLAT, **NO_CLASS, "reg_tokens": 2},
    "positions_cls": {**FLAT, "reg_tokens": 1, "pos_embed_tokens": "cls"},
    "positions_patch": {**FLAT, "reg_tokens": 1, "pos_embed_tokens": "patch"},
    "all_prefixes": {
        **FLAT,
        **{"dist_token": True, "reg_tokens": 1, "pos_embed_tokens": "cls"},
    },
    "sincos": {**FLAT, **NO_CLASS, "pos_embed": "sincos"},
    "no_positions": {**FLAT, "pos_embed": "none"},
    # stem
    "patch_norm": {**FLAT, "patch_norm": "post"},
    "dual_norm": {**FLAT, **NO_CLASS, "patch_norm": "dual"},
    "pre_norm": {**FLAT, "pre_norm": True, "patch_bias": False},
    "gray": {**FLAT, "in_chans": 1},
    # blocks
    "no_bias": {
        **FLAT,
        **{"patch_bias": False, "qkv_bias": False, "proj_bias": False},
        "mlp_bias": False,
    },
    "qv_bias": {
        **{**FLAT, **NO_CLASS, "qkv_bias": "qv", "final_norm": False},
        **{"fc_norm": True, "fc_norm_eps": 1e-3, "norm_eps": 1e-12},
    },
    "qk_norm": {**FLAT, "qk_norm": True},
    "layer_scale": {**FLAT, "init_values": 0.1},
    "swiglu": {**FLAT, "mlp_layer": "swiglu", "act_layer": "silu"},
    "head_dim": {**FLAT, "num_heads": 2, "head_dim": 10},
    "gelu_tanh": {**FLAT, "act_layer": "gelu_tanh"},
    "quick_gelu": {**FLAT, "act_layer": "quick_gelu"},
    "silu": {**FLAT, "act_layer": "silu"},
    "relu": {**FLAT, "act_layer": "relu", "norm_eps": 1e-5},
    "dropout": {
        **FLAT,
        **{"drop_rate": 0.3, "pos_drop_rate": 0.3, "proj_drop_rate": 0.3},
        **{"attn_drop_rate": 0.3, "drop_path_rate": 0.3},
    },
    "deep": {**FLAT, "depth": 5},
    "wide": {
        **{**FLAT, "patch_size": (16, 8), "embed_dim": 768, "num_heads": 12},
        **{"mlp_dim": 3072, "depth": 1, "num_classes": 2},
    },
    # 3D
    "vit_3d": {**SOLID, "num_classes": 2},
    "features_3d": {
        **{**THIN, **FEATURES, "class_token": False, "pos_embed_tokens": "patch"},
        **{"qkv_bias": False, "norm_eps": 1e-5},
    },
    "tanh_3d": {
        **{**SOLID, "head_act": "tanh", "pos_embed_tokens": "patch"},
        **{"norm_eps": 1e-5, "in_chans": 4},
    },
    "sincos_3d": {**THIN, **NO_CLASS, "pos_embed": "sincos"},
    "dual_norm_3d": {**THIN, **NO_CLASS, "patch_norm": "dual", "in_chans": 2},
    "pooled_3d": {**THIN, **NO_CLASS, "num_classes": 0, "init_values": 0.1},
    "registers_3d": {**SOLID, **NO_CLASS, "reg_tokens": 1, "qk_norm": True},
    "map_3d": {**THIN, "class_token": False, "global_pool": "map"},
    "avg_3d": {**THIN, **NO_CLASS, "fc_norm": True, "final_norm": False},
}

CASES: dict[str, ViTConfig] = {
    name: ViTConfig(**fields) for name, fields in FIELDS.items()
}
"""The models by name."""
