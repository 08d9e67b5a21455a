"""Verdicts by the RMS rule of `converters.judging.rms`, for the outputs of a twin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from converters.judging.rms import (
    EPS32,
    LEAST_INPUTS,
    MAX_LIMIT,
    RMS_LIMIT,
    compare_rms,
    rms,
)

__all__ = [
    "EPS32",
    "LEAST_INPUTS",
    "Verdict",
    "exactness",
    "judge_gradients",
    "judge_logits",
    "judge_tokens",
    "rms",
]

FEW = 256
"""A gradient of fewer numbers is not judged alone."""


@dataclass(frozen=True)
class Verdict:
    """One output of one model by the rule.

    Attributes:
        name: What was judged.
        rms: RMS error over the reference's own.
        largest: Largest error over the reference's own.
        limit: Largest `largest` allowed; infinite where it is not judged.
    """

    name: str
    rms: float
    largest: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether both errors are within their limits (NaN is not)."""
        return self.rms <= RMS_LIMIT and self.largest <= self.limit

    def __str__(self) -> str:
        return f"{self.name}: rms {self.rms:.3g}x, largest {self.largest:.3g}x"


def judge_tokens(
    name: str, given: np.ndarray, reference: np.ndarray, oracle: np.ndarray
) -> Verdict:
    """Judges tokens or maps: many numbers, so the largest one as well.

    Args:
        name: What is judged.
        given: The float32 values in question.
        reference: The torch twin's float32 values.
        oracle: The torch twin's float64 values.

    Raises:
        ValueError: If the shapes differ, or a type is not the one stated.
    """
    found = compare_rms(given, reference, oracle)
    return Verdict(name, found.ratio, found.max_ratio, MAX_LIMIT)


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
    found = compare_rms(given, reference, oracle)
    return Verdict(name, found.ratio, found.max_ratio, math.inf)


def judge_gradients(
    given: dict[str, np.ndarray],
    reference: dict[str, np.ndarray],
    oracle: dict[str, np.ndarray],
) -> list[Verdict]:
    """Judges the gradient of every weight.

    A tensor of at least 256 numbers is judged alone, as tokens are. Below that chance
    decides (of 24 numbers one in 2000 correct ones exceeds 2), so the others are
    pooled, each measured in units of its own floor.

    Raises:
        ValueError: If the three do not have the same names, shapes and types.
    """
    if not given.keys() == reference.keys() == oracle.keys():
        odd = sorted((given.keys() ^ reference.keys()) | (given.keys() ^ oracle.keys()))
        raise ValueError(f"gradients of one side only: {odd}")
    verdicts, small = [], []
    for name, theirs in reference.items():
        verdict = judge_tokens(name, given[name], theirs, oracle[name])
        if theirs.size >= FEW:
            verdicts.append(verdict)
        else:
            small.append((verdict, theirs.size))
    if small:
        total = sum(verdict.rms**2 * size for verdict, size in small)
        pooled = math.sqrt(total / sum(size for _, size in small))
        most = max(verdict.largest for verdict, _ in small)
        verdicts.append(Verdict("small gradients", pooled, most, math.inf))
    return verdicts


def exactness(given: np.ndarray, oracle: np.ndarray) -> float:
    """Largest difference of two float64 results, relative to the largest value.

    Raises:
        ValueError: If the shapes differ, or either is not float64.
    """
    if given.shape != oracle.shape:
        raise ValueError(f"shapes {given.shape} and {oracle.shape}")
    if given.dtype != np.float64 or oracle.dtype != np.float64:
        raise ValueError(f"{given.dtype} and {oracle.dtype}: not a float64 run")
    difference, scale = np.abs(given - oracle).max(), np.abs(oracle).max()
    if scale == 0:
        return 0.0 if difference == 0 else math.inf
    return float(difference / scale)
