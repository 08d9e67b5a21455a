"""The RMS rule: is a difference float32 rounding, or a mistake?

A float32 model rounds; how much that matters is measured, not chosen. The oracle is the
torch twin in float64, the noise the error of the same twin in float32 on the same
inputs. A correct model in another framework rounds elsewhere, and by about as much:

    ratio = rms(given - oracle) / max(rms(reference - oracle), eps32 * rms(oracle))

with eps32 = 2**-23, the least that counts as noise (a reference may be exact by luck).
At most 2 passes. The RMS is taken over many numbers at once, tokens or the logits of at
least 64 inputs: a few numbers have a noise of chance size. The largest error is a
single number and reported likewise; it is judged on tokens only, at most 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

EPS32 = 2.0**-23
RMS_LIMIT = 2.0
MAX_LIMIT = 4.0
LEAST_INPUTS = 64


@dataclass(frozen=True, slots=True)
class RmsComparison:
    """One float32 output by the rule.

    Attributes:
        ratio: RMS error over the noise.
        max_ratio: Largest error over the largest of the reference.
        error: RMS error, relative to the RMS of the oracle.
        noise: RMS of the reference's own error, relative likewise.
        max_difference: Largest difference of given and reference, absolute.
    """

    ratio: float
    max_ratio: float
    error: float
    noise: float
    max_difference: float


def rms(values: Array) -> float:
    """Root of the mean square, in float64."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def rms_error(values: Array, oracle: Array) -> float:
    """RMS of the differences from the exact values, in float64."""
    return rms(values.astype(np.float64) - oracle)


def compare_rms(given: Array, reference: Array, oracle: Array) -> RmsComparison:
    """Measures outputs by the RMS rule; NaN in them gives NaN, which passes nothing.

    Args:
        given: The float32 outputs in question.
        reference: The torch twin's in float32, on the same inputs.
        oracle: The torch twin's in float64.

    Raises:
        ValueError: If shapes differ, or a type is not the one stated.
    """
    if not given.shape == reference.shape == oracle.shape:
        raise ValueError(
            f"outputs of shape {given.shape}; the reference has {reference.shape}, "
            f"the oracle {oracle.shape}"
        )
    if oracle.dtype != np.float64 or given.dtype != reference.dtype:
        raise ValueError(
            f"outputs of {given.dtype}; the reference is {reference.dtype}, "
            f"the oracle {oracle.dtype}"
        )
    size = rms(oracle)
    error, noise = rms_error(given, oracle), rms_error(reference, oracle)
    floor = max(noise, EPS32 * size)
    largest = _largest(reference - oracle)
    return RmsComparison(
        ratio=_over(error, floor),
        max_ratio=_over(_largest(given - oracle), max(largest, EPS32 * size)),
        error=_over(error, size),
        noise=_over(noise, size),
        max_difference=_largest(given.astype(np.float64) - reference),
    )


def _largest(values: Array) -> float:
    return float(np.abs(values).max())


def _over(part: float, whole: float) -> float:
    if whole == 0:  # everything exactly zero
        return 0.0 if part == 0 else math.inf
    return part / whole
