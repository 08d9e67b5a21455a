"""Configs, goldens and both twins, for tests of volumes."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.preprocess.volume_cases import CASES, FILES, SIZE, FileCase, VolumeCase
from vit_config import ViTConfig

GOLDENS = Path(__file__).with_name("volume_goldens.npz")
DATA: dict[str, Any] = {
    "axes": ("X", "Y", "Z"),
    "orientation": "RAS",
    "spacing_mm": (1.0, 1.5, 2.0),
    "intensity": {"kind": "window", "low": -175.0, "high": 250.0},
    "input_range": (0.0, 1.0),
    "fit": "pad_or_crop",
    "fit_first": False,
    "pad_value": 0.0,
}
LETTERS = {"L": "X", "R": "X", "P": "Y", "A": "Y", "I": "Z", "S": "Z"}


def config(
    size: int | tuple[int, ...] = SIZE, in_chans: int = 2, **data: Any
) -> ViTConfig:
    """A tiny model with that preprocessing; None takes a field away."""
    return ViTConfig(
        spatial_dims=3,
        img_size=size,
        patch_size=1,
        in_chans=in_chans,
        embed_dim=12,
        depth=1,
        num_heads=2,
        mlp_dim=8,
        num_classes=3,
        data={**DATA, **data},
    )


def config_of(case: VolumeCase) -> ViTConfig:
    fields = {"intensity": None, "input_range": None, "pad_value": None, **case.data}
    return config(in_chans=case.channels, **fields)


def file_config(case: FileCase, **changes: Any) -> ViTConfig:
    """Of a model that takes such files."""
    data = {
        "axes": tuple(LETTERS[letter] for letter in case.orientation),
        "orientation": case.orientation,
        "spacing_mm": case.spacing,
        "spacing_mode": case.mode,
    }
    return config(in_chans=case.channels, **{**data, **changes})


@lru_cache(maxsize=1)
def goldens() -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What made them, and the result (*spatial, C) of every case."""
    with np.load(GOLDENS) as file:
        about, rest = json.loads(str(file["about"])), file["floats"]
    found = {}
    for name, shape in about["shapes"].items():
        count = int(np.prod(shape))
        found[name], rest = rest[:count].reshape(shape), rest[count:]
    assert not len(rest) and found.keys() == {*CASES, *FILES}
    return about["versions"], found


def difference(case: VolumeCase, made: NDArray[Any]) -> float:
    """Largest difference of a result (1, *spatial, C) from MONAI's, of its range."""
    theirs = goldens()[1][case.name]
    assert made.shape == (1, *theirs.shape)
    extent = max(float(np.ptp(theirs)), float(np.abs(theirs).max()), 1e-3)
    return float(np.abs(made[0] - theirs).max()) / extent
