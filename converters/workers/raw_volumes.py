"""Raw volumes for comparing preprocessing: a wrong axis, order or step shows.

What `keras_vit.Preprocess` and `torch_vit.Preprocess` of one config take, and what two
artifacts that carry their preprocessing do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vit_config import ViTConfig
from vit_config.preprocess_volume import VolumePlan, make_volume_plan

SLOPES = (0.5, -0.3, 0.2)
"""Along the axes, as parts of the range: none is another's, nor its opposite."""

SIZES = ((5, 3, -2), (-1, 7, 2), (3, 0, 9))
"""Voxels beyond those of the model: longer and shorter, an odd and an even excess."""


def raw_volumes(config: ViTConfig, seed: int = 0) -> list[NDArray[np.float32]]:
    """Volumes in the scan's units, each of another size.

    No two axes of one are of one length, or alike; nor is one like any of its mirror
    images or permutations. Values go beyond both ends of a window, and some are 0.

    Args:
        config: Of a 3D model that states all of its preprocessing.
        seed: Of the noise.

    Returns:
        float32 (*spatial, C), one for each of `SIZES`.

    Raises:
        ConfigError: If the config does not state all of its preprocessing.
    """
    plan = make_volume_plan(config)
    low, high = _extent(plan)
    made = []
    for number, more in enumerate(SIZES):
        shape: list[int] = []
        for size, extra in zip(config.img_size, more, strict=True):
            length = max(2, size + extra)
            while length in shape:
                length += 1
            shape.append(length)
        rng = np.random.default_rng([seed, number])
        places = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
        ramp = np.asarray(sum(s * p for s, p in zip(SLOPES, places, strict=True)))
        noise = rng.uniform(-0.15, 0.15, (*shape, config.in_chans))
        tilt = 1 - 0.3 * np.arange(config.in_chans) / config.in_chans
        values = 0.5 + 0.8 * (ramp[..., None] * tilt + noise)
        values = low + values * (high - low)
        values[rng.random(values.shape) < 0.05] = 0
        made.append(values.astype(np.float32))
    return made


def _extent(plan: VolumePlan) -> tuple[float, float]:
    """Values that matter to the first step."""
    found = plan.intensity
    if found is not None and found.kind == "window":
        return float(found.low or 0), float(found.high or 0)
    if found is None and plan.mean:
        return plan.mean[0] - 2 * abs(plan.std[0]), plan.mean[0] + 2 * abs(plan.std[0])
    return -400.0, 1200.0
