"""Figures that people know, beside the RMS rule: ULPs, KL, top-k agreement, SQNR.

They are reported. The verdict is the RMS rule's (`converters.judging.rms`).

A distance in units in the last place counts the floats of one type that lie between two
of them: neighbours are 1 apart, +0 and -0 are one number, and counting goes on through
zero. For numbers near zero it is large where the absolute error is small: that is why
nothing is judged by it.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from converters.parity.record import Histogram

Array = NDArray[Any]

# Unsigned type of the same width, and the bits of +infinity.
_BITS: dict[np.dtype[Any], tuple[type[np.unsignedinteger[Any]], int]] = {
    np.dtype(np.float64): (np.uint64, 0x7FF0_0000_0000_0000),
    np.dtype(np.float32): (np.uint32, 0x7F80_0000),
    np.dtype(np.float16): (np.uint16, 0x7C00),
    np.dtype(ml_dtypes.bfloat16): (np.uint16, 0x7F80),
}

PERCENTILES = {"p50": 0.5, "p99": 0.99}


def ulp_distance(given: Array, reference: Array) -> Array:
    """Distances in units in the last place, number by number.

    Infinity is the neighbour of the largest number. Two NaN are 0 apart, whatever their
    bits; NaN and a number are as far apart as the result's type can say, which no two
    numbers are.

    Args:
        given: float32, float16, bfloat16 or float64.
        reference: Of the same type and shape.

    Returns:
        Unsigned integers of the same width and shape.

    Raises:
        ValueError: If types or shapes differ, or the type is another.
    """
    if given.dtype != reference.dtype or given.shape != reference.shape:
        raise ValueError(
            f"{given.dtype} {given.shape} and {reference.dtype} {reference.shape}: "
            f"units in the last place need one type and shape"
        )
    if given.dtype not in _BITS:
        raise ValueError(f"{given.dtype} has no units in the last place known here")
    a, a_nan = _places(given)
    b, b_nan = _places(reference)
    # The difference of two signed numbers may need the sign's bit: it wraps, and is
    # right as an unsigned number.
    distance = np.where(a > b, a - b, b - a).view(_BITS[given.dtype][0])
    distance[a_nan != b_nan] = np.iinfo(distance.dtype).max
    distance[a_nan & b_nan] = 0
    return distance.reshape(given.shape)


def _places(values: Array) -> tuple[Array, Array]:
    """The place of each number in the order of all floats, and which are NaN."""
    unsigned, infinity = _BITS[values.dtype]
    bits = np.ascontiguousarray(values).reshape(-1).view(unsigned)
    sign = unsigned(1 << (8 * values.dtype.itemsize - 1))
    size = bits & ~sign
    signed = size.view(np.dtype(f"i{values.dtype.itemsize}"))
    return np.where(bits & sign, -signed, signed), size > infinity


def ulp_percentiles(distances: Array) -> dict[str, float]:
    """Median, 99th percentile and maximum, each a distance that occurs.

    Args:
        distances: What `ulp_distance` gives; any shape, not empty.

    Returns:
        `p50`, `p99` and `max`; infinity where NaN stands against a number.
    """
    flat = distances.reshape(-1)
    places = {
        name: math.ceil(share * flat.size) - 1 for name, share in PERCENTILES.items()
    }
    places["max"] = flat.size - 1
    ordered = np.partition(flat, sorted(set(places.values())))
    never = np.iinfo(flat.dtype).max
    return {
        name: math.inf if ordered[i] == never else float(ordered[i])
        for name, i in places.items()
    }


def ulp_histogram(distances: Array, subject: str, name: str) -> Histogram:
    """Counts distances in bins 0, 1, 2 to 3, 4 to 7, ... each twice as wide.

    The bins end with the largest distance. If NaN stands against a number anywhere, one
    more bin that ends at infinity counts these pairs.

    Args:
        distances: What `ulp_distance` gives; any shape, not empty.
        subject: Whose output it is.
        name: Of the output.
    """
    ordered = np.sort(distances, axis=None)
    never = np.searchsorted(ordered, np.iinfo(ordered.dtype).max)
    largest = int(ordered[never - 1]) if never else 0
    edges = [0, *(2**i for i in range(largest.bit_length() + 1))]
    # The last border may be beyond the type: below it are all numbers there are.
    below = [
        int(np.searchsorted(ordered, ordered.dtype.type(e))) for e in edges[:-1]
    ] + [int(never)]
    borders = [float(edge) for edge in edges]
    if never < ordered.size:
        below.append(ordered.size)
        borders.append(math.inf)
    counts = tuple(int(count) for count in np.diff(below))
    return Histogram(subject=subject, name=name, edges=tuple(borders), counts=counts)


def largest_kl(reference: Array, given: Array) -> float:
    """Largest Kullback-Leibler divergence of the softmax over all inputs, in nats.

    D(reference || given) in float64. A single column is a yes or no: then of the
    sigmoid. The sum is taken over p (q/p - 1 - ln(q/p)), which is the same, as p and q
    both sum to 1, but has no term below 0 and so loses nothing where p and q nearly
    agree: 1e-20 is still told from 0.

    Args:
        reference: Logits (B, K).
        given: Logits (B, K).

    Returns:
        0 or more; NaN if a logit is NaN or infinite.

    Raises:
        ValueError: If the shapes are not those.
    """
    _same_rows(reference, given)
    log_p, log_q = _log_softmax(reference), _log_softmax(given)
    p, t = np.exp(log_p), log_q - log_p
    near = np.abs(t) < 1e-3
    small = np.where(near, t, 0.0)
    series = small * small * (0.5 + small * (1 / 6 + small * (1 / 24 + small / 120)))
    terms = np.where(near, p * series, np.exp(log_q) - p - p * t)
    return float(np.maximum(terms, 0.0).sum(axis=1).max())


def _log_softmax(logits: Array) -> Array:
    x = logits.astype(np.float64)
    if x.shape[1] == 1:  # the softmax of (0, x) is (1 - sigmoid, sigmoid)
        x = np.concatenate([np.zeros_like(x), x], axis=1)
    x[~np.isfinite(x)] = np.nan
    x -= x.max(axis=1, keepdims=True)
    exact: Array = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    return exact


def top_agreement(reference: Array, given: Array, k: int) -> float | None:
    """Share of inputs with the same k largest logits, in whatever order.

    Of equal logits the first counts as the larger. NaN agrees with nothing.

    Args:
        reference: Logits (B, K).
        given: Logits (B, K).
        k: How many.

    Returns:
        0 to 1; None if there are no more than k classes.

    Raises:
        ValueError: If the shapes are not those.
    """
    _same_rows(reference, given)
    if reference.shape[1] <= k:
        return None
    same = (_largest(reference, k) == _largest(given, k)).all(axis=1)
    for logits in (reference, given):
        same &= ~np.isnan(logits.astype(np.float64)).any(axis=1)
    return float(same.mean())


def _largest(logits: Array, k: int) -> Array:
    order = np.argsort(-logits.astype(np.float64), axis=1, kind="stable")
    return np.sort(order[:, :k], axis=1)


def _same_rows(reference: Array, given: Array) -> None:
    if reference.ndim != 2 or reference.shape != given.shape or not reference.size:
        raise ValueError(f"logits {reference.shape} and {given.shape}: need (B, K)")


def sqnr_db(error: float) -> float | None:
    """Signal to quantisation noise ratio in decibels.

    Args:
        error: RMS error relative to the RMS of the exact values.

    Returns:
        20 log10(1 / error); None where there is no error.
    """
    return -20.0 * math.log10(error) if error else None
