"""Seeded inputs of kinds that show different mistakes.

- `noise`: standard normal. No two axes, channels or inputs are alike.
- `structured`: like a picture or scan: 1/f noise that the channels partly share, and
  another slope along each axis. Neighbouring patches resemble each other, as in noise
  they never do.
- `large`: noise times 256, as if somebody forgot to scale: shows what saturates.
- `low_variance`: noise of variance 4e-6, so that tokens differ little more than biases
  and positions make them: shows epsilons, as the norms then divide by less.
- `zeros`: only biases, special tokens and positions are left.
- `batch1`, `batch3`: the first rows of `noise` once more, as a batch of their own: they
  must come out as they do in the large batch.

Same seed, config and NumPy: the same inputs, whichever other kinds are asked for. How
many there are never changes the first ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from converters.judging.rms import LEAST_INPUTS
from converters.workers.size import OPERATIONS, inputs_for, operations
from vit_config import ViTConfig

Array = NDArray[np.float32]

Kind = Literal[
    "noise", "structured", "large", "low_variance", "zeros", "batch1", "batch3"
]
KINDS: tuple[Kind, ...] = (
    "noise",
    "structured",
    "large",
    "low_variance",
    "zeros",
    "batch1",
    "batch3",
)
"""All kinds. The number of a kind is part of its seed: add new ones at the end."""

BATCHES: dict[Kind, int] = {"batch1": 1, "batch3": 3}
"""Kinds that are the first rows of `noise`, with how many."""

LARGE = 256.0
FAINT = 2.0**-9
SLOPES = (1.0, -0.6, 0.35)
"""Of `structured`, along each axis: no two alike, not even in size."""

MOST_BYTES = 2**28
"""Of one kind of input: a small model may take large volumes."""


def counts_for(config: ViTConfig) -> dict[Kind, int]:
    """How many inputs of each kind a model gets.

    64 where that is cheap; else noise gets about `OPERATIONS`, and each of the other
    kinds a quarter of that. At least 3 of noise, 2 of the others.
    """
    fits = MOST_BYTES // (4 * config.in_chans * math.prod(config.img_size))
    share = int(OPERATIONS / 4 / operations(config))
    other = max(2, min(LEAST_INPUTS, share, fits))
    return {
        "noise": max(3, min(inputs_for(config), fits)),
        "structured": other,
        "large": other,
        "low_variance": other,
        "zeros": 2,  # they are all the same
        **BATCHES,
    }


def seeded(kind: Kind, config: ViTConfig, count: int, seed: int = 0) -> Array:
    """Inputs of one kind.

    Args:
        kind: One of `KINDS`.
        config: Of the model.
        count: How many.
        seed: Of the random numbers.

    Returns:
        float32 (count, in_chans, *img_size).

    Raises:
        ValueError: If there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"inputs of kind {kind!r}; known are {', '.join(KINDS)}")
    made = np.empty((count, config.in_chans, *config.img_size), np.float32)
    for row, values in zip(made, _rows(kind, config, seed), strict=False):
        row[...] = values
    return made


def write_sets(
    folder: Path,
    config: ViTConfig,
    seed: int = 0,
    counts: dict[Kind, int] | None = None,
) -> dict[str, str]:
    """Writes inputs of all kinds as `.npy`, one kind in memory at a time.

    Args:
        folder: Where to.
        config: Of the model.
        seed: Of the random numbers.
        counts: How many of each kind; without it `counts_for(config)`.

    Returns:
        Name of the file by kind: the key `"sets"` of a job.
    """
    files: dict[str, str] = {}
    for kind, count in (counts or counts_for(config)).items():
        files[kind] = f"inputs-{kind}.npy"
        np.save(folder / files[kind], seeded(kind, config, count, seed))
    return files


def _rows(kind: Kind, config: ViTConfig, seed: int) -> Iterator[Any]:
    """Endless inputs (C, *spatial), each drawn after the one before."""
    drawn_as: Kind = "noise" if kind in BATCHES else kind
    rng = np.random.default_rng([seed, KINDS.index(drawn_as)])
    shape = (config.in_chans, *config.img_size)
    while True:
        match drawn_as:
            case "structured":
                yield structured(rng, shape)
            case "large":
                yield LARGE * rng.standard_normal(shape, np.float32)
            case "low_variance":
                yield FAINT * rng.standard_normal(shape, np.float32)
            case "zeros":
                yield 0.0
            case _:
                yield rng.standard_normal(shape, np.float32)


def structured(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """One input (C, *spatial) of the kind `structured`."""
    channels, *spatial = shape
    shared = _pink(rng, spatial)
    ramp = np.zeros(spatial)
    for axis, size in enumerate(spatial):
        places = (2 * np.arange(size) + 1) / size - 1
        lengths = [1] * len(spatial)
        lengths[axis] = size
        ramp += SLOPES[axis] * places.reshape(lengths)
    own = [_pink(rng, spatial) for _ in range(channels)]
    # In another channel the light falls another way.
    return np.stack(
        [0.8 * shared + 0.6 * pink + ramp / (1 + i) for i, pink in enumerate(own)]
    )


def _pink(rng: np.random.Generator, spatial: list[int]) -> NDArray[Any]:
    """Noise of mean 0 and deviation 1 whose amplitude falls with the frequency."""
    noise = rng.standard_normal(spatial)
    if noise.size == 1:
        return noise
    waves = np.fft.rfftn(noise)
    axes = [np.fft.fftfreq(size) for size in spatial[:-1]]
    axes.append(np.fft.rfftfreq(spatial[-1]))
    squares = np.meshgrid(*(axis**2 for axis in axes), indexing="ij")
    frequency = np.sqrt(np.sum(squares, axis=0))
    frequency.flat[0] = 1.0
    waves.flat[0] = 0.0  # no mean
    pink = np.fft.irfftn(waves / frequency, s=spatial, axes=range(len(spatial)))
    scaled: NDArray[Any] = pink / pink.std()
    return scaled
