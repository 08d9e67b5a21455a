"""Volumes as inputs of a 3D model.

Read and prepared as for prediction, where the config states all of its preprocessing.
Where it does not they are taken as they are: turned, without resampling, to the
orientation that it states, if it does; a volume of another size is refused.
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.errors import refusal
from converters.inputs.prepare_volume import prepare_volume
from converters.inputs.scan import Scan, open_scan
from converters.inputs.volume import (
    NEAR_MM,
    SUFFIXES,
    read_volume as read,
    spacing_of,
    turn,
)
from vit_config import ConfigError, ViTConfig
from vit_config.preprocess_volume import make_volume_plan

__all__ = ["SUFFIXES", "read_volume"]


def read_volume(
    path: Path, config: ViTConfig
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """One volume as the model takes it.

    Args:
        path: One of `SUFFIXES`.
        config: Of the model.

    Returns:
        (C, *spatial), and what was done, or not done, that the user may not expect.

    Raises:
        ConversionError: If it cannot be read, or does not fit the model.
        MissingExtraError: If the library that reads it is not installed.
    """
    try:
        plan = make_volume_plan(config)
    except ConfigError:
        return _as_it_is(path, config)
    found = read(path, config, "verify")
    return prepare_volume(found.values, plan), found.notes


def _as_it_is(
    path: Path, config: ViTConfig
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    notes: list[str] = []
    scan = open_scan(path, config.in_chans, "verify")
    wanted = config.data and config.data.orientation
    if wanted and not scan.stated:
        notes.append(f"its header does not say how it lies; taken as {wanted}")
    elif wanted:
        scan, notes = turn(scan, wanted, path, "verify")
    _check_size(scan, path, config)
    _note_preprocessing(scan, config, notes)
    values = np.moveaxis(scan.values, -1, 0)
    return np.ascontiguousarray(values, np.float32), tuple(notes)


def _check_size(scan: Scan, path: Path, config: ViTConfig) -> None:
    shape, size = scan.values.shape[:3], config.img_size
    if shape == size:
        return
    text = f"a volume {shape}; expected {size}"
    if shape in set(permutations(size)):
        text += ": the axes are in another order"
    raise refusal(
        text,
        file=path,
        hint="Volumes are not resampled unless the config states how: do that first, "
        "state it, or pass a .npy.",
    )


def _note_preprocessing(scan: Scan, config: ViTConfig, notes: list[str]) -> None:
    """Says what the config asks for and nobody did."""
    data = config.data
    if data is None:
        return
    if data.spacing_mm and scan.stated:
        there = spacing_of(scan)
        pairs = zip(there, data.spacing_mm, strict=True)
        if not all(abs(a - b) <= NEAR_MM for a, b in pairs):
            found = " x ".join(f"{mm:g}" for mm in there)
            wanted = " x ".join(f"{mm:g}" for mm in data.spacing_mm)
            notes.append(f"voxels of {found} mm, the config says {wanted} mm")
    stated = [name for name in ("intensity", "mean", "std") if getattr(data, name)]
    if stated:
        notes.append(f"the config's {', '.join(stated)} not applied")
