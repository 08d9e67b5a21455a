"""Small configs that together set every flag which adds, drops or reshapes a weight."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converters.files.safetensors_file import write_safetensors
from converters.mapping.pipe import MemorySource, np_dtype
from tests.fill import fill_weights
from vit_config import ViTConfig

BASE = {
    "img_size": (12, 8),
    "patch_size": 4,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 40,
}


def config(**fields: object) -> ViTConfig:
    return ViTConfig(**{**BASE, **fields})


CASES = {
    "classes": config(num_classes=5),
    "features": config(),
    "tokens": config(class_token=False, global_pool="none"),
    "volume": config(
        spatial_dims=3, img_size=(12, 8, 4), patch_size=4, in_chans=1, num_classes=3
    ),
    "volume_patch": config(
        spatial_dims=3, img_size=(12, 8, 6), patch_size=(4, 2, 3), global_pool="avg"
    ),
    "dual": config(patch_norm="dual", global_pool="avg", fc_norm=True, num_classes=2),
    "post_sincos": config(patch_norm="post", pos_embed="sincos"),
    "distilled": config(dist_token=True, distilled=True, num_classes=4, reg_tokens=1),
    "map": config(
        global_pool="map",
        reg_tokens=2,
        qk_norm=True,
        init_values=0.1,
        pre_norm=True,
        fc_norm=True,
        representation_size=6,
        num_classes=3,
    ),
    "no_bias": config(
        qkv_bias="qv", proj_bias=False, mlp_bias=False, head_bias=False, num_classes=3
    ),
    "swiglu": config(
        mlp_layer="swiglu",
        act_layer="silu",
        patch_bias=False,
        qkv_bias=False,
        final_norm=False,
        pos_embed="none",
        global_pool="token_avg",
        num_classes=7,
    ),
    "wide_heads": config(head_dim=16, pos_embed_tokens="patch", reg_tokens=3),
    "deep": config(depth=12, embed_dim=12, mlp_dim=16, num_classes=2),
}


def weights(config: ViTConfig, dtype: str = "float32") -> dict[str, np.ndarray]:
    return {
        name: values.astype(np_dtype(dtype))
        for name, values in fill_weights(config).items()
    }


def write_canonical(
    path: Path, config: ViTConfig, arrays: dict[str, np.ndarray] | None = None
) -> Path:
    """A canonical file whose header says `config`, whatever its tensors are."""
    source = MemorySource(weights(config) if arrays is None else arrays)
    write_safetensors(path, source, config)
    return path


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pipeline_config() -> ViTConfig:
    """A model that says all of its preprocessing."""
    config = CASES["classes"]
    chans = config.in_chans
    return config.replace(
        data={
            "mean": [0.5 - 0.1 * i for i in range(chans)],
            "std": [0.2 + 0.05 * i for i in range(chans)],
            "input_range": [0.0, 1.0],
            "interpolation": "bicubic",
            "crop_pct": 0.8,
            "crop_mode": "center",
        }
    )
