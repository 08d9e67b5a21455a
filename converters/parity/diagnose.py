"""In words, what happened to a weight that is not what it should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from converters.mapping.pipe import Array, np_dtype
from converters.parity.operands import Opened
from converters.parity.record import ConfigRow, Divergence, TensorRow

MOST = 8
"""Tensors looked at one by one; of more only the names are told."""


def of_tensors(
    a: Opened, b: Opened, rows: tuple[TensorRow, ...]
) -> Iterator[Divergence]:
    """What most likely happened to the weights of B that are not A's."""
    missing = tuple(row.name for row in rows if not row.sha256_b)
    added = tuple(row.name for row in rows if not row.sha256_a)
    if missing:
        yield Divergence(
            tensors=missing, explanation=f"B has no {_these(missing)} of A"
        )
    if added:
        yield Divergence(tensors=added, explanation=f"A has no {_these(added)} of B")
    other = [row for row in rows if row.sha256_a and row.sha256_b and not row.equal]
    if not other:
        return
    homes = {row.sha256_a: row.name for row in rows if row.sha256_a}
    exchanged = tuple(row.name for row in other if row.sha256_b in homes)
    if exchanged:
        pairs = ", ".join(
            f"{row.name} holds {homes[row.sha256_b]}"
            for row in other[:MOST]
            if row.sha256_b in homes
        )
        yield Divergence(tensors=exchanged, explanation=f"exchanged: {pairs}")
    rest = [row for row in other if row.name not in exchanged]
    for row in rest[:MOST]:
        if row.max_difference is None:
            words = f"has shape {b.found.digests[row.name][1]} in B"
        else:
            words = what_happened(
                a.found.source.read(row.name), b.found.source.read(row.name)
            )
        yield Divergence(tensors=(row.name,), explanation=f"{row.name} {words}")
    if len(rest) > MOST:
        last = tuple(row.name for row in rest[MOST:])
        yield Divergence(
            tensors=last, explanation=f"{len(last)} more differ: {last[0]} ..."
        )


def of_config(rows: tuple[ConfigRow, ...]) -> Iterator[Divergence]:
    """The fields that differ; where the source is from explains nothing."""
    data = [row for row in rows if row.section == "data"]
    if len(data) > 1 and all(row.b == "null" for row in data):
        yield Divergence(
            fields=("data",), explanation="B says nothing of the preprocessing"
        )
        rows = tuple(row for row in rows if row not in data)
    for row in rows:
        added = row.section != "architecture" and row.a == "null"
        if row.section == "source" or added:
            continue
        yield Divergence(
            fields=(row.field,),
            explanation=f"{row.field} is {row.a} in A and {row.b} in B",
        )


def what_happened(a: Array, b: Array) -> str:
    """How an array became another one of its shape, in a few words."""
    wide, given = a.astype(np.float64), b.astype(np.float64)
    differ = wide != given
    count = int(np.count_nonzero(differ))
    if count == 0:
        return f"has the same values as {b.dtype} instead of {a.dtype}"
    if not np.isfinite(given).all():
        return "holds NaN or infinity"
    if not given.any():
        return "is all zero"
    for name, words in _ROUNDINGS.items():
        if np.array_equal(a.astype(np_dtype(name)).astype(np.float64), given):
            return f"is rounded to {words}"
    if count == 1:
        place = tuple(int(i) for i in np.argwhere(differ)[0])
        return (
            f"differs in one element, at {place}: {b[place]!s} instead of {a[place]!s}"
        )
    if np.array_equal(given, -wide):
        return "has the opposite sign"
    factor = float(np.median(given[wide != 0] / wide[wide != 0])) if wide.any() else 0.0
    if np.allclose(given, factor * wide, rtol=1e-6, atol=0) and factor:
        return f"is multiplied by {factor:.6g}"
    reordered = _reordered(wide, given)
    if reordered:
        return reordered
    for axis in range(wide.ndim):
        others = tuple(i for i in range(wide.ndim) if i != axis)
        rows = np.flatnonzero(differ.any(axis=others))
        if wide.shape[axis] > 1 and len(rows) <= max(1, wide.shape[axis] // 8):
            places = ", ".join(map(str, rows[:4])) + (" ..." if len(rows) > 4 else "")
            return f"differs at {places} of axis {axis} only"
    if np.array_equal(np.sort(wide, None), np.sort(given, None)):
        return "holds the same numbers in another order"
    size = np.sqrt(np.mean((given - wide) ** 2)) / np.sqrt(np.mean(wide**2) or 1)
    if size > 0.9:
        return "has nothing in common with A's: drawn anew, or of another model"
    return f"differs in {count} of {wide.size} elements, by {size:.2g} of its size"


_ROUNDINGS: Mapping[str, str] = {"float16": "float16", "bfloat16": "bfloat16"}


def _reordered(a: Array, b: Array) -> str:
    """An axis reversed, two axes transposed, or blocks along an axis moved."""
    for axis in range(a.ndim):
        if a.shape[axis] > 1 and np.array_equal(np.flip(a, axis), b):
            return f"is reversed along axis {axis}"
    for i in range(a.ndim):
        for j in range(i + 1, a.ndim):
            turned = np.swapaxes(a, i, j)
            if turned.shape == b.shape and np.array_equal(turned, b):
                return f"is transposed: axes {i} and {j} exchanged"
            if np.array_equal(np.ascontiguousarray(turned).reshape(b.shape), b):
                return f"is laid out with axes {i} and {j} exchanged"
    for axis in range(a.ndim):
        if a.shape[axis] < 2:
            continue
        rows_a = np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1)
        rows_b = np.moveaxis(b, axis, 0).reshape(a.shape[axis], -1)
        if np.array_equal(rows_a[_order(rows_a)], rows_b[_order(rows_b)]):
            return f"has its rows along axis {axis} in another order"
    return ""


def _order(rows: Array) -> Array:
    order: Array = np.lexsort(rows[:, : min(4, rows.shape[1])].T)
    return order


def _these(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
