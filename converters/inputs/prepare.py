"""Pixels to what a model takes, as `vit_config.preprocess` says, by NumPy alone.

For work outside of a model: in threads that read ahead, and where no framework is. The
layers `torch_vit.Preprocess` and `keras_vit.Preprocess` do the same inside a model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.inputs.product import along_last
from vit_config.preprocess import WHITE, Plan, matrix


def prepare(levels: NDArray[Any], plan: Plan) -> NDArray[np.float32]:
    """Resizes, crops and normalises one picture.

    Args:
        levels: (H, W, C), from 0 to 255: uint8 or float32.
        plan: What the config's `data` says.

    Returns:
        (C, *plan.size).
    """
    rows, columns = plan.axes(*levels.shape[:2])
    x = np.moveaxis(levels, 2, 0)
    x = _along_last(x, matrix(columns, plan.interpolation))
    x = _along_last(x.swapaxes(1, 2), matrix(rows, plan.interpolation)).swapaxes(1, 2)
    gain = np.array([g / WHITE for g in plan.gain], np.float32)
    offset = np.array(plan.offset, np.float32)
    made = x * gain[:, None, None] + offset[:, None, None]
    return np.ascontiguousarray(made, np.float32)


def _along_last(x: NDArray[Any], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., n) times the transposed (m, n), cut to what 8 bits can hold."""
    made = along_last(x, weights)
    return np.clip(made, 0.0, WHITE, out=made)
