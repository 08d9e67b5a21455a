"""The RMS rule: are the errors of a model float32 rounding, or a mistake?

Rounding is the noise of the reference itself: the float32 torch twin against the same
twin in float64, on the same inputs. A correct model in another framework rounds in
other places, by about as much; its RMS error is at most twice the reference's. Nothing
in this is a tolerance to be chosen: a model with larger activations has a larger floor.

- The RMS is taken over many numbers: tokens, or the logits of at least 64 inputs. Few
  logits have a chance floor: with two classes and one input, a quarter of correct
  models exceed 2.
- A reference may be exact by luck. `EPS32` times the RMS of the exact values is the
  least that counts as its error.
- The largest error is a single number, so it is reported everywhere and judged, more
  loosely, on tokens only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

EPS32 = 2.0**-23
RMS_LIMIT = 2.0
MAX_LIMIT = 4.0
LEAST_INPUTS = 64


@dataclass(frozen=True)
class Verdict:
    """One output of one model by the rule.

    Attributes:
        name: What was judged.
        rms: RMS error over the reference's own.
        largest: Largest error over the reference's own.
        floor: The reference's RMS error, relative to the RMS of the exact values.
        limit: Largest `largest` allowed; infinite where it is not judged.
    """

    name: str
    rms: float
    largest: float
    floor: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether both errors are within their limits (NaN is not)."""
        return self.rms <= RMS_LIMIT and self.largest <= self.limit

    def __str__(self) -> str:
        return f"{self.name}: rms {self.rms:.3g}x, largest {self.largest:.3g}x"


def rms(values: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def largest(values: np.ndarray) -> float:
    """Largest magnitude; NaN if there is one."""
    return float(np.abs(values).max())


def judge_tokens(
    name: str, given: np.ndarray, reference: np.ndarray, oracle: np.ndarray
) -> Verdict:
    """Judges tokens, maps or gradients: many numbers, so the largest one as well.

    Args:
        name: What is judged.
        given: The float32 values in question.
        reference: The torch twin's float32 values.
        oracle: The torch twin's float64 values.

    Raises:
        ValueError: If the shapes differ, or a type is not the one stated.
    """
    return _judge(name, given, reference, oracle, MAX_LIMIT)


def judge_logits(
    name: str, given: np.ndarray, reference: np.ndarray, oracle: np.ndarray
) -> Verdict:
    """Judges (B, K) outputs, pooled over the batch.

    Args:
        name: What is judged.
        given: The float32 values in question.
        reference: The torch twin's float32 values.
        oracle: The torch twin's float64 values.

    Raises:
        ValueError: As `judge_tokens`; also for fewer than 64 inputs.
    """
    if len(oracle) < LEAST_INPUTS:
        raise ValueError(
            f"{name}: logits of {len(oracle)} inputs; fewer than {LEAST_INPUTS} say "
            "nothing about a model"
        )
    return _judge(name, given, reference, oracle, math.inf)


def _judge(
    name: str,
    given: np.ndarray,
    reference: np.ndarray,
    oracle: np.ndarray,
    limit: float,
) -> Verdict:
    if not given.shape == reference.shape == oracle.shape:
        raise ValueError(
            f"{name}: shape {given.shape}; reference {reference.shape}, exact "
            f"{oracle.shape}"
        )
    if oracle.dtype != np.float64 or given.dtype != reference.dtype:
        raise ValueError(
            f"{name}: {given.dtype}; reference {reference.dtype}, exact {oracle.dtype}"
        )
    error = given.astype(np.float64) - oracle
    noise = reference.astype(np.float64) - oracle
    size = rms(oracle)
    least = EPS32 * size
    floor = max(rms(noise), least)
    return Verdict(
        name,
        _ratio(rms(error), floor),
        _ratio(largest(error), max(largest(noise), least)),
        _ratio(floor, size),
        limit,
    )


def _ratio(error: float, floor: float) -> float:
    if floor == 0:  # everything exactly zero
        return 0.0 if error == 0 else math.inf
    return error / floor


def exactness(given: np.ndarray, oracle: np.ndarray) -> float:
    """Largest difference of two float64 results, relative to the largest value.

    Raises:
        ValueError: If the shapes differ, or either is not float64.
    """
    if given.shape != oracle.shape:
        raise ValueError(f"shapes {given.shape} and {oracle.shape}")
    if given.dtype != np.float64 or oracle.dtype != np.float64:
        raise ValueError(f"{given.dtype} and {oracle.dtype}: not a float64 run")
    return _ratio(largest(given - oracle), largest(oracle))
