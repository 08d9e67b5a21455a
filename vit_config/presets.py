"""Named configurations: the ViT sizes, and 3D models that medical users have.

The sizes are those of big_vision (`decode_variant`), which follows Table 2 of
"Scaling Vision Transformers" (arXiv 2106.04560): width, depth, heads and MLP width.
Only the size is theirs. All else is the schema's default: a plain ViT with class token
and learned positions, epsilon 1e-6, exact GELU, and no head.

The 3D models are MONAI's `ViT` in its base size, as their own code builds it.
"""

from __future__ import annotations

import difflib
from typing import Any

from vit_config.errors import ConfigError

_SIZES = {
    # name: embed_dim, depth, num_heads, mlp_dim, usual patch sizes
    "ti": (192, 12, 3, 768, (16,)),
    "s": (384, 12, 6, 1536, (8, 14, 16, 32)),
    "m": (512, 12, 8, 2048, (16, 32)),
    "b": (768, 12, 12, 3072, (8, 14, 16, 32)),
    "l": (1024, 24, 16, 4096, (14, 16, 32)),
    "h": (1280, 32, 16, 5120, (14, 16)),
    "g": (1408, 40, 16, 6144, (14, 16)),  # "giant"
    "G": (1664, 48, 16, 8192, (14,)),  # "gigantic"; the case of the letter counts
    "so400m": (1152, 27, 16, 4304, (14, 16)),
}

_MONAI_BASE = {
    "spatial_dims": 3,
    "in_chans": 1,
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
    "mlp_dim": 3072,
    "class_token": False,
    "pos_embed_tokens": "patch",
    "norm_eps": 1e-5,
    "qkv_bias": False,
    "global_pool": "none",
    "weight_init": "monai",
}
_MONAI_96 = {**_MONAI_BASE, "img_size": (96, 96, 96), "patch_size": (16, 16, 16)}
_CT_SLAB = {**_MONAI_BASE, "img_size": (32, 256, 256), "patch_size": (4, 16, 16)}

_PRESETS: dict[str, dict[str, Any]] = {
    f"vit-{size}{patch}-224": {
        "img_size": (224, 224),
        "patch_size": (patch, patch),
        "embed_dim": width,
        "depth": depth,
        "num_heads": heads,
        "mlp_dim": mlp_dim,
    }
    for size, (width, depth, heads, mlp_dim, patches) in _SIZES.items()
    for patch in patches
} | {
    "monai-vit-b16-96": _MONAI_96,
    # BrainIAC (2025): no class token; what its code calls one is the first patch.
    "brainiac": _MONAI_96,
    # M3D-CLIP keeps the class token and returns all tokens; its head was removed.
    "m3d-clip": {**_CT_SLAB, "class_token": True},
    "segvol": _CT_SLAB,
}


def preset_names() -> tuple[str, ...]:
    """Returns the names of all presets."""
    return tuple(_PRESETS)


def preset_fields(name: str) -> dict[str, Any]:
    """Returns the fields of a preset, as `ViTConfig` takes them.

    Raises:
        ConfigError: If there is none of this name; the nearest names are listed.
    """
    if name not in _PRESETS:
        near = difflib.get_close_matches(str(name), _PRESETS, n=4, cutoff=0.3)
        hint = ", ".join(map(repr, near or sorted(_PRESETS)))
        line = f"name: there is no preset {name!r}; the nearest are {hint}"
        raise ConfigError([line], "preset")
    return dict(_PRESETS[name])
