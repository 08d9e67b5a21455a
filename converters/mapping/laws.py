"""The laws of a rule table, which are checked when it is made."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vit_config.weights import always

if TYPE_CHECKING:
    from converters.mapping.table import Row

BLOCK = "{i}"
CHUNK = "{c}"
DEPTH = "{L}"
ZERO = ""
"""In place of a name: a part that is zero and not stored."""

PLUS = " + "
"""Between the axes of parts of unequal size, which follow each other on axis 0."""

GROUP = re.compile(r"\([^()]*\)|[^\s()]+")


def row_names(row: Row) -> str:
    """A row in words."""
    sides = (row.sources, row.targets)
    left, right = (" + ".join(name or "zero" for name in side) for side in sides)
    return f"{left} -> {right}"


def symbols_of(side: str) -> list[str]:
    """The axes of one side of a pattern, outside and inside of brackets."""
    return side.replace("(", " ").replace(")", " ").split()


def row_problems(row: Row, known: frozenset[str]) -> list[str]:
    """Which laws one row breaks by itself."""
    problems = []
    if row.pattern.count("->") != 1:
        return [f"pattern {row.pattern!r} needs exactly one '->'"]
    if not row.sources or not row.targets:
        return ["a side without names"]
    stored = [name for name in (*row.sources, *row.targets) if name != ZERO]
    zeros = ZERO in row.sources, ZERO in row.targets
    if all(zeros) or not any(row.sources) or not any(row.targets):
        problems.append("ZERO may stand for some parts of one side, not for all")
    blocks = {name.count(BLOCK) for name in stored}
    if blocks not in ({0}, {1}):
        problems.append("{i} must stand once in every name, or in none")
    if PLUS in row.pattern:
        return problems + _joined_problems(row, known)
    axes = []
    for names, side in zip((row.sources, row.targets), row.sides, strict=True):
        rest = GROUP.sub("", side).strip()
        if rest:
            problems.append(f"cannot read {rest!r} in {side!r}")
        symbols = [symbol for symbol in symbols_of(side) if symbol != "1"]
        axes.append(set(symbols))
        if len(symbols) != len(set(symbols)):
            problems.append(f"an axis stands twice in {side!r}")
        unknown = sorted(set(symbols) - known)
        if unknown:
            problems.append(f"unknown axes {unknown} in {side!r}")
        groups = GROUP.findall(side)
        if len(names) > 1 and (
            not groups or groups[0] in ("1", "...") or "(" in groups[0]
        ):
            problems.append(
                f"{side!r} must begin with the axis of its {len(names)} parts"
            )
    if axes[0] != axes[1]:
        odd = sorted(axes[0] ^ axes[1])
        problems.append(f"axes {odd} stand on one side only of {row.pattern!r}")
    if row.sides[0] == row.sides[1] and _crosses_kernel(row):
        problems.append("a kernel with an identity layout: a transpose is missing")
    return problems


def _joined_problems(row: Row, known: frozenset[str]) -> list[str]:
    """Which laws a row of unequal parts breaks: `"o d + (t o) d"` on both sides."""
    problems = []
    left, right = row.sides
    parts = left.split(PLUS)
    counts = sorted((len(row.sources), len(row.targets)))
    if left != right:
        problems.append("parts and whole are written alike, left and right of '->'")
    if counts != [1, len(parts)] or ZERO in (*row.sources, *row.targets):
        problems.append(f"{len(parts)} parts need as many names, and one of the whole")
    tails = set()
    for part in parts:
        rest, groups = GROUP.sub("", part).strip(), GROUP.findall(part)
        if rest:
            problems.append(f"cannot read {rest!r} in {part!r}")
        symbols = [symbol for symbol in symbols_of(part) if symbol != "1"]
        unknown = sorted(set(symbols) - known)
        if unknown:
            problems.append(f"unknown axes {unknown} in {part!r}")
        if len(symbols) != len(set(symbols)):
            problems.append(f"an axis stands twice in {part!r}")
        tails.add(tuple(groups[1:]))
    if len(tails) > 1 or "..." in left:
        problems.append(f"the parts of {left!r} may differ in their first axis only")
    if _crosses_kernel(row):
        problems.append("a kernel with an identity layout: a transpose is missing")
    return problems


def _crosses_kernel(row: Row) -> bool:
    """Whether a Keras kernel stands on one side only: its axes are in other order."""
    sides = (row.sources, row.targets)
    leaves = [{re.split(r"[./]", name)[-1] for name in side} for side in sides]
    return ("kernel" in leaves[0]) != ("kernel" in leaves[1])


def pairing_problems(rows: tuple[Row, ...]) -> list[str]:
    """Names map one to one; a second row needs a condition, and another one."""
    problems = []
    for this, other in (("sources", "targets"), ("targets", "sources")):
        partner: dict[str, Row] = {}
        for row in rows:
            names = tuple(name for name in getattr(row, this) if name != ZERO)
            twice = sorted({name for name in names if names.count(name) > 1})
            problems += [f"{name}: stands twice in {row_names(row)}" for name in twice]
            for name in dict.fromkeys(names):
                if name not in partner:
                    partner[name] = row
                elif getattr(partner[name], other) != getattr(row, other):
                    if always not in (row.when, partner[name].when) and (
                        row.when is not partner[name].when
                    ):
                        continue  # two spellings; the plan sees that only one counts
                    both = f"{row_names(partner[name])}, and {row_names(row)}"
                    problems.append(f"{name}: {both}")
                elif partner[name].when is row.when:
                    problems.append(f"{name}: two rows under one condition")
    return problems
