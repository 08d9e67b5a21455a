"""The parts of a record in the order and groups in which they are shown.

Rows stay with their place in the record, so that a page can say where a figure is from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from converters.parity.page.text import LEVEL_TITLES, SHORT
from converters.parity.record import (
    MEANINGS,
    Check,
    LayerRow,
    Meaning,
    ParityReport,
    Status,
    Verdict,
    verdict_of,
)

Row = TypeVar("Row")
Key = TypeVar("Key")
Placed = tuple[int, Row]
"""A row, after its place in the record."""


def grouped(
    rows: Iterable[Row], key: Callable[[Row], Key]
) -> dict[Key, list[tuple[int, Row]]]:
    """Rows with their places, by key, keys in the order of their first row."""
    found: dict[Key, list[tuple[int, Row]]] = {}
    for place, row in enumerate(rows):
        found.setdefault(key(row), []).append((place, row))
    return found


@dataclass(frozen=True, slots=True)
class MeaningView:
    """What was found on one meaning of "identical".

    Attributes:
        meaning: Which.
        title: In one or two words.
        text: In a sentence.
        verdict: Over its checks; None if there are none.
        counts: Number of its checks of every status that occurs.
    """

    meaning: Meaning
    title: str
    text: str
    verdict: Verdict | None
    counts: tuple[tuple[str, int], ...]


def meanings(report: ParityReport) -> list[MeaningView]:
    """All four, those without a check as well."""
    found = []
    for meaning, text in MEANINGS.items():
        own = [check for check in report.checks if check.meaning == meaning]
        counts = Counter(check.status for check in own)
        order: tuple[Status, ...] = ("passed", "failed", "not checked", "reported")
        found.append(
            MeaningView(
                meaning,
                SHORT[meaning],
                text,
                verdict_of(own) if own else None,
                tuple((status, counts[status]) for status in order if counts[status]),
            )
        )
    return found


LONG = 12
"""A failed page with more checks folds those that passed, on a small screen."""


@dataclass(frozen=True, slots=True)
class LevelView:
    """The checks of one level.

    Attributes:
        level: Which.
        title: In one or two words.
        open: Checks that are always seen.
        folded: The passed ones of a long page that failed.
    """

    level: str
    title: str
    open: tuple[Placed[Check], ...]
    folded: tuple[Placed[Check], ...]


def levels(report: ParityReport) -> list[LevelView]:
    """Checks by level, levels in the order of the work."""
    found = grouped(report.checks, lambda check: check.level)
    folds = report.verdict == "failed" and len(report.checks) > LONG
    views = []
    for level, title in LEVEL_TITLES.items():
        if level not in found:
            continue
        sides: tuple[list[Placed[Check]], list[Placed[Check]]] = ([], [])
        for place, check in found[level]:
            sides[folds and check.status == "passed"].append((place, check))
        views.append(LevelView(level, title, tuple(sides[0]), tuple(sides[1])))
    return views


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """The intermediate results of one subject on one kind of input.

    Attributes:
        subject: Of all rows.
        inputs: Of all rows.
        cumulative: Rows from the input on, in order of computation.
        forced: Rows of steps alone, likewise.
    """

    subject: str
    inputs: str
    cumulative: tuple[Placed[LayerRow], ...]
    forced: tuple[Placed[LayerRow], ...]

    @property
    def rows(
        self,
    ) -> list[tuple[str, Placed[LayerRow] | None, Placed[LayerRow] | None]]:
        """(tap, its cumulative row, its forced row), in order of computation."""
        found: dict[str, list[Placed[LayerRow] | None]] = {}
        for side, rows in enumerate((self.cumulative, self.forced)):
            for place, row in rows:
                found.setdefault(row.name, [None, None])[side] = (place, row)
        return [(name, pair[0], pair[1]) for name, pair in found.items()]

    @property
    def failed(self) -> int:
        """Number of rows that are over their limit."""
        return sum(row.failed for _, row in self.cumulative + self.forced)


def layers(report: ParityReport) -> list[LayerGroup]:
    """Intermediate results by subject and kind of input."""
    found = grouped(report.layers, lambda row: (row.subject, row.inputs))
    return [
        LayerGroup(
            subject,
            inputs,
            tuple(item for item in rows if item[1].mode == "cumulative"),
            tuple(item for item in rows if item[1].mode == "forced"),
        )
        for (subject, inputs), rows in found.items()
    ]
