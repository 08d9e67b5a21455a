"""Which decisions change between two models on a user's own list of cases."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from converters.files.atomic import atomic, check_output
from converters.parity.case_list import Chunk
from converters.parity.decisions import UNDECIDED, Array, Rule, upper_bound
from converters.parity.record import CaseRow, CaseSummary

CONFIDENCE = 0.95
COLUMNS = ("case", "label", "subject", "decision_a", "decision_b", "changed", "margin")


@dataclass
class Tally:
    """Counts the decisions of two models as their outputs come.

    Attributes:
        subject: Which model is held against the reference, as in `record.Check`.
        rule: How outputs become decisions.
    """

    subject: str
    rule: Rule
    _rows: list[CaseRow] = field(default_factory=list)

    def add(self, chunk: Chunk, logits_a: Array, logits_b: Array) -> None:
        """Takes the outputs (B, K) of both models for a chunk."""
        decided_a, margins = self.rule.decide(logits_a)
        decided_b, _ = self.rule.decide(logits_b)
        columns = (chunk.cases, chunk.labels, decided_a, decided_b, margins)
        for case, label, a, b, margin in zip(*columns, strict=True):
            self._rows.append(
                CaseRow(
                    case=case, label=label, decision_a=a, decision_b=b, margin=margin
                )
            )

    def summary(self, confidence: float = CONFIDENCE) -> CaseSummary:
        """All that was counted.

        Args:
            confidence: Of the upper bound.

        Raises:
            ValueError: If there were no cases.
            MissingExtraError: If SciPy is not installed.
        """
        number = sum(map(changed, self._rows))
        return CaseSummary(
            subject=self.subject,
            count=len(self._rows),
            changed=number,
            upper_bound=upper_bound(number, len(self._rows), confidence),
            confidence=confidence,
            threshold=self.rule.threshold,
            correct_a=self._correct([row.decision_a for row in self._rows]),
            correct_b=self._correct([row.decision_b for row in self._rows]),
            rows=tuple(self._rows),
        )

    def _correct(self, decisions: list[str]) -> float | None:
        """Share of the labelled cases that are decided right."""
        pairs = zip(decisions, (row.label for row in self._rows), strict=True)
        right = [
            self.rule.correct(made, label) for made, label in pairs if label is not None
        ]
        return sum(right) / len(right) if right else None


def changed(row: CaseRow) -> bool:
    """Whether the decisions differ; what is not a number is no decision."""
    return row.decision_a != row.decision_b or row.decision_a == UNDECIDED


def in_words(summary: CaseSummary) -> str:
    """`"0 of 412 decisions changed (95 % upper bound 0.7 %)"`."""
    percent = 100 * summary.upper_bound
    bound = f"{percent:.1f}" if percent >= 0.1 else f"{percent:.1g}"
    return (
        f"{summary.changed} of {summary.count} decisions changed "
        f"({100 * summary.confidence:g} % upper bound {bound} %)"
    )


def write_case_rows(
    target: Path, summaries: Iterable[CaseSummary], *, force: bool = False
) -> None:
    """Writes a CSV with one line per case and subject; cases appear as hashes.

    Args:
        target: The file to write.
        summaries: One per subject.
        force: Whether it may replace a file of that name.

    Raises:
        ConversionError: If it exists, or its folder does not.
    """
    check_output(target, (), force)
    with (
        atomic(target, force=force) as path,
        path.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for summary in summaries:
            for row in summary.rows:
                writer.writerow(
                    [
                        row.case,
                        "" if row.label is None else row.label,
                        summary.subject,
                        row.decision_a,
                        row.decision_b,
                        "yes" if changed(row) else "no",
                        repr(row.margin),
                    ]
                )
