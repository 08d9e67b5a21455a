"""Volumes to what a model takes, by NumPy alone: see `vit_config.preprocess_volume`.

For work outside of a model, as `prepare` is for pictures. The layers
`torch_vit.Preprocess` and `keras_vit.Preprocess` do the same inside a model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.inputs.product import along_last
from vit_config.preprocess_volume import VolumePlan, constant, rank

Array = NDArray[np.float32]


def prepare_volume(values: NDArray[Any], plan: VolumePlan) -> Array:
    """Normalises one volume and fits it to the model's size.

    Args:
        values: (*spatial, C), as `converters.inputs.volume.read_volume` gives it.
        plan: What the config's `data` says.

    Returns:
        float32 (C, *plan.size).
    """
    x = np.asarray(values, np.float32)
    if plan.fit_first:
        x = _normalised(_fitted(x, plan), plan)
    else:
        x = _fitted(_normalised(x, plan), plan)
    return np.ascontiguousarray(np.moveaxis(x, -1, 0), np.float32)


def _normalised(x: Array, plan: VolumePlan) -> Array:
    found = plan.intensity
    if found is not None and found.kind == "zscore":
        x = _zscore(x, plan)
    elif found is not None:
        low, high = found.low or 0.0, found.high or 0.0
        ends: list[Any] = [np.float32(low), np.float32(high)]
        if found.kind == "percentile":
            groups = x.shape[-1] if found.channel_wise else 1
            values = x.reshape(-1, groups)
            ends = [_percentile(values, percent) for percent in (low, high)]
        x = _scaled(x, ends[0], ends[1], plan)
    if plan.mean:
        mean, std = np.array(plan.mean, np.float32), np.array(plan.std, np.float32)
        x = np.asarray((x - mean) / std, np.float32)
    return x


def _scaled(x: Array, low: Any, high: Any, plan: VolumePlan) -> Array:
    flat = high == low  # a volume of one value
    y = (x - low) / np.where(flat, np.float32(1), high - low)
    y = y * np.float32(plan.top - plan.bottom) + np.float32(plan.bottom)
    if plan.clip:
        y = np.clip(y, plan.bottom, plan.top)
    made: Array = np.where(flat, x - low + np.float32(plan.bottom), y)
    return made


def _percentile(values: Array, percent: float) -> Any:
    """(N, groups) -> (groups,)."""
    below, above, part = rank(float(percent), len(values))
    two = np.partition(values, (below, above), axis=0)
    return two[below] + np.float32(part) * (two[above] - two[below])


def _zscore(x: Array, plan: VolumePlan) -> Array:
    axes = (0, 1, 2) if plan.channel_wise else None
    counted = x != 0 if plan.nonzero else np.ones_like(x, bool)
    count = np.maximum(counted.sum(axes, keepdims=True), 1)
    mean = (x * counted).sum(axes, np.float64, keepdims=True) / count
    off = (x - mean) * counted
    std = np.sqrt((off * off).sum(axes, keepdims=True) / count)
    made: Array = (off / np.where(std == 0, 1, std)).astype(np.float32)
    return made


def _fitted(x: Array, plan: VolumePlan) -> Array:
    kind = plan.interpolation if plan.fit == "resize" else plan.fit
    for axis, new in enumerate(plan.size):
        tables = constant(kind, x.shape[axis], new)
        along = [new if i == axis else 1 for i in range(4)]
        if kind == "area":
            made = along_last(np.moveaxis(x, axis, -1), tables[0])
            x = np.moveaxis(made, -1, axis)
        elif kind == "pad_or_crop":
            index, inside = tables
            pad = np.float32(plan.pad_value)
            x = np.where(inside.reshape(along), x.take(index, axis), pad)
        else:
            lower, upper, part = tables
            below = x.take(lower, axis)
            x = below + (x.take(upper, axis) - below) * part.reshape(along)
    return x
