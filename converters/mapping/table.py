"""Rule tables: which tensors correspond, and the laws a table must obey.

A `Row` names tensors on both sides and one einops pattern that is the operation
between them, its inverse (sides swapped) and both shapes. A `Table` is checked when it
is made; expanded over a config it becomes a `Plan` of explicit `Step`s. Names are
generated, never parsed.

Several names on one side stand for the parts of one tensor: that side's pattern then
begins with the axis of the parts. Separate q, k and v in a foreign file::

    Row(("q.weight", "k.weight", "v.weight"), ("qkv.weight",), "s h d -> (s h) d")

A part that a layout does not have, because it is always zero, is `ZERO`::

    Row(("q.bias", ZERO, "v.bias"), ("qkv.bias",), "s h -> (s h)")

Parts of unequal size, one after the other along the first axis, are joined by `+`, the
same on both sides; the side with one name is the whole::

    Row(("in_proj_weight",), ("q.weight", "kv.weight"), joined("o d + (t o) d"))
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

from converters.mapping.laws import (
    BLOCK,
    CHUNK,
    DEPTH,
    PLUS as _PLUS,
    ZERO,
    pairing_problems,
    row_names,
    row_problems,
    symbols_of,
)
from vit_config import ViTConfig
from vit_config.weights import RULES, SYMBOLS, Rule, always, axis_sizes, shape_of

__all__ = [
    "BLOCK",
    "CANONICAL",
    "CHUNK",
    "DEPTH",
    "KERAS",
    "ZERO",
    "Condition",
    "Plan",
    "Row",
    "Sizes",
    "Step",
    "Table",
    "TableError",
    "joined",
]

Condition = Callable[[ViTConfig], bool]
Sizes = Mapping[str, int | tuple[int, ...]]


class TableError(ValueError):
    """A rule table that breaks one of the laws; the text lists every breach."""

    def __init__(self, table: str, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n  ".join([f"rule table {table!r}:", *problems]))


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    In a name `{i}` stands for the block index, `{c}` for that of its chunk, and `{L}`
    for the number of blocks.

    Attributes:
        sources: Names on the left side; more than one are parts of one tensor, of
            which some may be `ZERO`.
        targets: Names on the right side.
        pattern: einops pattern, left to right; or the axes of parts, see `joined`.
        when: Whether a config has these tensors.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    pattern: str
    when: Condition = always

    @property
    def sides(self) -> tuple[str, str]:
        """Left and right side of the pattern."""
        left, _, right = self.pattern.partition("->")
        return left.strip(), right.strip()


@dataclass(frozen=True, slots=True)
class Step:
    """One row for one block of one config: nothing is left to be looked up.

    Attributes:
        sources: Names of the tensors that go in.
        targets: Names of the tensors that come out.
        pattern: einops pattern from in to out.
        source_shapes: Shape of each tensor that goes in.
        target_shapes: Shape of each tensor that comes out.
        sizes: Lengths of the pattern's axes.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    pattern: str
    source_shapes: tuple[tuple[int, ...], ...]
    target_shapes: tuple[tuple[int, ...], ...]
    sizes: tuple[tuple[str, int], ...]

    @property
    def source_shape(self) -> tuple[int, ...]:
        """Shape of the first tensor that goes in; but for `+`, of each."""
        return self.source_shapes[0]

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of the first tensor that comes out; but for `+`, of each."""
        return self.target_shapes[0]

    @property
    def joins(self) -> bool:
        """Whether unequal parts are joined, or a whole taken apart, along axis 0."""
        return _PLUS in self.pattern

    @property
    def identity(self) -> bool:
        """Whether the tensor stays as it is."""
        left, right = (side.strip() for side in self.pattern.split("->"))
        return left == right and len(self.sources) == len(self.targets) == 1

    def inverse(self) -> Step:
        """The same step in the other direction."""
        left, right = (side.strip() for side in self.pattern.split("->"))
        return Step(
            self.targets,
            self.sources,
            f"{right} -> {left}",
            self.target_shapes,
            self.source_shapes,
            self.sizes,
        )


@dataclass(frozen=True)
class Plan:
    """All steps of one table for one config.

    Attributes:
        table: Name of the table.
        config: The config it was made for.
        steps: The steps, in the order of the table.
    """

    table: str
    config: ViTConfig
    steps: tuple[Step, ...]

    def inverse(self) -> Plan:
        """The way back."""
        steps = tuple(step.inverse() for step in self.steps)
        return replace(self, steps=steps)

    @property
    def source_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor that goes in, with its shape."""
        return {
            name: shape
            for step in self.steps
            for name, shape in zip(step.sources, step.source_shapes, strict=True)
            if name != ZERO
        }

    @property
    def target_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor that comes out, with its shape."""
        return {
            name: shape
            for step in self.steps
            for name, shape in zip(step.targets, step.target_shapes, strict=True)
            if name != ZERO
        }


@dataclass(frozen=True)
class Table:
    """A bijection between the tensors of two layouts.

    Args:
        name: What the right side is called, in messages.
        rows: The rows; those with `{i}` repeat together, block by block.
        sizes: Lengths of the axis symbols for a config.
        symbols: The axis symbols a pattern may use.
        chunks: Number of chunks the blocks are in; `{c}` in a name is the chunk's.

    Raises:
        TableError: If a law is broken.
    """

    name: str
    rows: tuple[Row, ...]
    sizes: Callable[[ViTConfig], Sizes] = axis_sizes
    symbols: frozenset[str] = field(default=SYMBOLS, repr=False)
    chunks: int = 1

    def __post_init__(self) -> None:
        problems = [
            f"{row_names(row)}: {problem}"
            for row in self.rows
            for problem in row_problems(row, self.symbols)
        ]
        problems += pairing_problems(self.rows)
        if problems:
            raise TableError(self.name, problems)

    def plan(self, config: ViTConfig) -> Plan:
        """Expands the rows over a config.

        Raises:
            TableError: If two rows that the config has name the same tensor.
        """
        sizes = self.sizes(config)
        chunk = max(config.depth // self.chunks, 1)
        steps = tuple(
            _step(row, sizes, {BLOCK: i, CHUNK: i // chunk, DEPTH: config.depth})
            for row, i in self._expand(config)
        )
        problems = []
        for side in ("sources", "targets"):
            names = Counter(name for step in steps for name in getattr(step, side))
            del names[ZERO]
            problems += [
                f"{name}: {count} rows of this config name it"
                for name, count in names.items()
                if count > 1
            ]
        if problems:
            raise TableError(self.name, problems)
        return Plan(self.name, config, steps)

    def _expand(self, config: ViTConfig) -> Iterator[tuple[Row, int]]:
        for in_blocks, group in groupby(self.rows, lambda r: BLOCK in r.targets[0]):
            rows = [row for row in group if row.when(config)]
            for i in range(config.depth if in_blocks else 1):
                for row in rows:
                    yield row, i


def joined(axes: str) -> str:
    """The pattern of a row whose parts, `"o d + (t o) d"`, have unequal sizes."""
    return f"{axes} -> {axes}"


def _step(row: Row, sizes: Sizes, marks: Mapping[str, int]) -> Step:
    pattern, used = _unrolled(row.pattern, sizes)
    return Step(
        tuple(_numbered(name, marks) for name in row.sources),
        tuple(_numbered(name, marks) for name in row.targets),
        pattern,
        _shapes(row, row.sources, row.sides[0], dict(sizes)),
        _shapes(row, row.targets, row.sides[1], dict(sizes)),
        () if _PLUS in pattern else _lengths(pattern, used),
    )


def _shapes(
    row: Row, names: tuple[str, ...], side: str, sizes: dict[str, int | tuple[int, ...]]
) -> tuple[tuple[int, ...], ...]:
    """Shape of each tensor on one side."""
    parts = [shape_of(part, sizes) for part in side.split(_PLUS)]
    if len(parts) > 1:
        if len(names) > 1:
            return tuple(parts)
        return ((sum(part[0] for part in parts), *parts[0][1:]),)
    (shape,) = parts
    if len(names) > 1:
        if shape[0] != len(names):
            text = f"{row_names(row)}: {len(names)} parts, axis of {shape[0]}"
            raise TableError("plan", [text])
        shape = shape[1:]
    return (shape,) * len(names)


def _lengths(pattern: str, sizes: Sizes) -> tuple[tuple[str, int], ...]:
    """Length of every axis of a pattern."""
    used = [s for s in symbols_of(pattern.partition("->")[0]) if s not in ("1", "...")]
    lengths = []
    for symbol in used:
        length = sizes[symbol]
        lengths.append(
            (symbol, length if isinstance(length, int) else math.prod(length))
        )
    return tuple(lengths)


def _numbered(name: str, marks: Mapping[str, int]) -> str:
    for mark, number in marks.items():
        name = name.replace(mark, str(number))
    return name


def _unrolled(pattern: str, sizes: Sizes) -> tuple[str, Sizes]:
    """Writes `...` inside brackets as one axis each: einops cannot take it apart."""
    if not any("..." in group for group in re.findall(r"\([^()]*\)", pattern)):
        return pattern, sizes
    lengths = sizes["..."]
    lengths = (lengths,) if isinstance(lengths, int) else lengths
    axes = {f"axis{number}": length for number, length in enumerate(lengths)}
    return pattern.replace("...", " ".join(axes)), {**sizes, **axes}


def _twin(rule: Rule) -> Row:
    return Row((rule.torch,), (rule.keras,), rule.layout, rule.when)


def _canonical(rule: Rule) -> Row:
    axes = rule.torch_axes
    return Row((rule.torch,), (rule.torch,), f"{axes} -> {axes}", rule.when)


KERAS = Table("keras", tuple(map(_twin, RULES)))
"""Canonical tensors <-> the Keras twin's."""

CANONICAL = Table("canonical", tuple(map(_canonical, RULES)))
"""Canonical tensors <-> themselves."""
