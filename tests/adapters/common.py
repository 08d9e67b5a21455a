"""Adapters that peft saved, and what it merges them to.

`tools/make_adapter_goldens.py` records them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from vit_config import ViTConfig

GOLDENS = Path(__file__).parent / "goldens"
CONFIG = ViTConfig(
    img_size=8,
    patch_size=4,
    embed_dim=12,
    depth=2,
    num_heads=3,
    mlp_dim=18,
    num_classes=5,
)
FILE, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
Arrays = dict[str, np.ndarray]


def base() -> Arrays:
    """The weights that the adapters were trained on, by timm's names."""
    return load_file(GOLDENS / "base.safetensors")


def adapter(name: str, path: Path, **fields: Any) -> Path:
    """A copy of an adapter's folder, with fields of its config changed."""
    path.mkdir()
    for file in (FILE, WEIGHTS):
        shutil.copy(GOLDENS / name / file, path)
    if fields:
        config = json.loads((path / FILE).read_text())
        (path / FILE).write_text(json.dumps({**config, **fields}))
    return path


def save_base(path: Path, rename: Any = str, kind: str = "float32") -> Path:
    """A file of the base, under other names or in another type."""
    import ml_dtypes

    types = {"bfloat16": ml_dtypes.bfloat16}
    arrays = {
        rename(name): values.astype(types.get(kind, kind))
        for name, values in base().items()
    }
    save_file(arrays, path)
    return path
