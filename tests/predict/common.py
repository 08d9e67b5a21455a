"""A folder that timm saved, pictures, and what timm says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.converters.cases import write_canonical
from vit_config import ViTConfig

GOLDEN = Path(__file__).with_name("golden")
TIMM = GOLDEN / "timm"
PICTURES = GOLDEN / "pictures"
ANSWERS: dict[str, Any] = json.loads((GOLDEN / "answers.json").read_bytes())["answers"]

SINGLE = {"problem_type": "single_label"}

KILLED = {"batch_size": 3, "shard_size": 4}
"""Options of `embed` in the test that kills it."""

DATA: dict[str, Any] = {
    "mean": (0.4, 0.5, 0.6),
    "std": (0.2, 0.25, 0.3),
    "input_range": (0.0, 1.0),
    "interpolation": "bilinear",
    "crop_pct": 1.0,
    "crop_mode": "squash",
}


def tiny(**changes: Any) -> ViTConfig:
    fields: dict[str, Any] = {"img_size": (12, 8), "patch_size": 4, "embed_dim": 12}
    fields |= {"depth": 1, "num_heads": 2, "mlp_dim": 10, "num_classes": 3}
    fields |= {"data": DATA, "problem_type": "single_label"}
    return ViTConfig(**{**fields, **changes})


def saved(folder: Path, config: ViTConfig, name: str = "model.safetensors") -> Path:
    return write_canonical(folder / name, config)


def apart(found: Any, theirs: Any) -> float:
    """The largest difference."""
    return float(np.abs(np.asarray(found) - np.asarray(theirs)).max())
