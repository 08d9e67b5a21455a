"""Pictures as inputs of a 2D model.

Read and prepared as for prediction, where the config states all of its preprocessing.
Where it does not they are squashed to the model's size, which is the same picture for
both models, whatever they were trained on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.inputs.picture import FORMATS, SUFFIXES, read_picture as decoded
from converters.inputs.prepare import prepare
from vit_config import ConfigError, DataConfig, ViTConfig
from vit_config.preprocess import Plan, make_plan

__all__ = ["FORMATS", "SUFFIXES", "read_picture"]


def read_picture(
    path: Path, config: ViTConfig
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """One picture as the model takes it.

    Args:
        path: The file.
        config: Of the model.

    Returns:
        (C, H, W), and what was done that the user may not expect.

    Raises:
        ConversionError: If it cannot be read, or does not fit the model's channels.
        MissingExtraError: If Pillow is not installed.
    """
    found = decoded(path, config.in_chans, exact=True, extra="verify")
    try:
        plan, notes = make_plan(config), found.notes
    except ConfigError:
        plan, more = _squashed(config)
        notes = (*found.notes, *more)
    return prepare(found.levels, plan), notes


def _squashed(config: ViTConfig) -> tuple[Plan, tuple[str, ...]]:
    """The plan of a config that does not state all of it, and what it lacks."""
    data = config.data or DataConfig()
    low, high = data.input_range or (0.0, 1.0)
    mean = data.mean or (0.0,) * config.in_chans
    std = data.std or (1.0,) * config.in_chans
    height, width = config.img_size
    notes = []
    if data.crop_mode in ("center", "border"):
        notes.append(f"squashed; the config's crop ({data.crop_mode}) is not taken")
    if data.mean is None and data.std is None:
        notes.append(
            f"the config states neither mean nor std: pixels go in from {low:g} to "
            f"{high:g}, which may not be what the model was trained on"
        )
    plan = Plan(
        size=(height, width),
        edges=(height, width),
        squash=True,
        crop_start="round",
        interpolation=data.interpolation or "bicubic",
        gain=tuple((high - low) / s for s in std),
        offset=tuple((low - m) / s for m, s in zip(mean, std, strict=True)),
    )
    return plan, tuple(notes)
