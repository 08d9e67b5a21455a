"""The canonical names and shapes of a file whose config is not known yet."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from converters.libraries.variant import Shapes, Variant
from converters.mapping.table import BLOCK, CHUNK, DEPTH, ZERO, Row

Dims = tuple[int | None, ...]
"""A shape; None for an axis that does not follow without a config."""

_MAX_DEPTH = 1000
_MAX_CHUNKS = 200
_GROUP = re.compile(r"\([^()]*\)|[^\s()]+")


def canonical_shapes(variant: Variant, shapes: Shapes) -> dict[str, Dims]:
    """Canonical names and shapes, as far as they follow without a config."""
    rows = variant.table.rows
    depth = depth_of(variant, shapes)
    marks = [{BLOCK: i, DEPTH: depth} for i in range(depth)]
    found: dict[str, Dims] = {}
    for row in rows:
        for mark in marks if BLOCK in row.targets[0] else [{DEPTH: depth}]:
            sources = [_filled(name, mark, shapes) for name in row.sources]
            parts = [shapes.get(name) for name in sources if name != ZERO]
            if any(part is None for part in parts):
                continue
            dims = _right_dims(row, [part for part in parts if part is not None])
            if dims is not None:
                found.setdefault(_filled(row.targets[0], mark, shapes), dims)
    return found


def depth_of(variant: Variant, shapes: Shapes) -> int:
    """The number of blocks, counted from the first."""
    rows = variant.table.rows
    anchor = next(r for r in rows if r.targets == ("blocks.{i}.norm1.weight",))
    count = 0
    while count < _MAX_DEPTH:
        if _filled(anchor.sources[0], {BLOCK: count}, shapes) not in shapes:
            break
        count += 1
    return count


def own_names(variant: Variant, shapes: Shapes) -> frozenset[str]:
    """The names of a file that some model of the variant has, whatever its config."""
    depth = depth_of(variant, shapes)
    found = set()
    for row in variant.table.rows:
        blocks = range(depth) if BLOCK in row.targets[0] else range(1)
        for name in row.sources:
            found |= {_filled(name, {BLOCK: i, DEPTH: depth}, shapes) for i in blocks}
    return frozenset(found & set(shapes))


def _filled(name: str, marks: Mapping[str, int], shapes: Shapes) -> str:
    for mark, number in marks.items():
        name = name.replace(mark, str(number))
    if CHUNK not in name:
        return name
    chunks = (name.replace(CHUNK, str(chunk)) for chunk in range(_MAX_CHUNKS))
    return next((chunk for chunk in chunks if chunk in shapes), name)


def _right_dims(row: Row, parts: list[tuple[int, ...]]) -> Dims | None:
    """Shape of the right side of a row, None for an axis that must stay open."""
    left, right = row.sides
    groups = _GROUP.findall(left)
    shape = parts[0]
    if len(row.sources) > 1:
        if any(part != shape for part in parts):
            return None
        shape = (len(row.sources), *shape)
    extra = len(shape) - len(groups)
    if extra < 0 or (extra and "..." not in groups):
        return None
    known: dict[str, Dims] = {"1": (1,)}
    position = 0
    for group in groups:
        width = extra + 1 if group == "..." else 1
        known[group] = shape[position : position + width]
        position += width
    dims: list[int | None] = []
    for group in _GROUP.findall(right):
        dims += known.get(group) or _product(group, known)
    return tuple(dims)


def _product(group: str, known: Mapping[str, Dims]) -> list[int | None]:
    """`(s h e)` from `s` and `(h e)`, which another layout keeps apart."""
    symbols = group.strip("()").split()
    first, rest = symbols[0], symbols[1:]
    tail = f"({' '.join(rest)})" if len(rest) > 1 else "".join(rest)
    parts = known.get(first), known.get(tail)
    if any(part is None or None in part for part in parts):
        return [None]
    numbers = [number for part in parts if part for number in part if number]
    return [math.prod(numbers)]


def flat_width(variant: Variant, shapes: Shapes) -> int | None:
    """Values of a patch, where the projection is a matrix on flattened patches."""
    for row in variant.table.rows:
        if row.targets == ("patch_embed.proj.weight",) and row.sources[0] in shapes:
            shape = shapes[row.sources[0]]
            return shape[-1] if len(shape) == 2 else None
    return None
