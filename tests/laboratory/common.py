"""Small models of these tests: 2D and 3D, every weight filled, no two axes alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from converters.files import write
from converters.mapping.pipe import MemorySource
from tests.fill import fill_weights
from vit_config import ViTConfig

Weights = dict[str, np.ndarray]

FLAT = ViTConfig(
    img_size=(16, 24),
    patch_size=(8, 4),
    embed_dim=48,
    depth=3,
    num_heads=4,
    mlp_dim=80,
    norm_eps=1e-6,
    num_classes=7,
    reg_tokens=2,
)
VOLUME = ViTConfig(
    spatial_dims=3,
    img_size=(8, 12, 20),
    patch_size=(4, 6, 5),
    in_chans=1,
    embed_dim=48,
    depth=2,
    num_heads=3,
    mlp_dim=64,
    class_token=False,
    pos_embed_tokens="patch",
    global_pool="none",
    num_classes=0,
    qkv_bias=False,
)


def save(
    path: Path,
    config: ViTConfig,
    change: Callable[[Weights], None] = lambda weights: None,
) -> Path:
    """Writes a model, after a change of its weights."""
    weights = fill_weights(config)
    change(weights)
    kind = path.name.partition(".")[2]
    write(path, kind, MemorySource(weights), config)
    return path
