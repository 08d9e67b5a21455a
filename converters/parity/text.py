"""A verification on the screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from converters.checks.architecture import NOT_IN_FILE, architecture_lines, by_hand
from converters.parity.record import (
    MEANINGS,
    Check,
    Divergence,
    Operand,
    ParityReport,
    verdict_of,
)

MARKS = {"passed": "ok", "failed": "FAILED", "not checked": "--", "reported": ""}
SHOWN = 4
"""Explanations printed; the record has all."""


def as_text(report: ParityReport) -> str:
    """The verdict, what was compared, and what explains a difference."""
    return "\n".join(_lines(report))


def _lines(report: ParityReport) -> Iterator[str]:
    yield report.sentence
    for operand in (report.a, report.b):
        yield _operand(operand)
        yield from (f"   {line}" for line in _model(operand, report.a))
    rows = check_lines(report.checks)
    if rows:
        yield ""
        yield from rows
    causes = report.divergences
    if causes:
        yield ""
        for found in causes[:SHOWN]:
            yield f"Likely cause: {cause(found)}."
        if len(causes) > SHOWN:
            yield f"... and {len(causes) - SHOWN} more in the record (--json)."
    of = {
        meaning: [check for check in report.checks if check.meaning == meaning]
        for meaning in MEANINGS
    }
    meanings = [name for name, checks in of.items() if verdict_of(checks) == "passed"]
    if meanings:
        yield ""
        yield 'Which "identical" was checked and passed:'
        for meaning in meanings:
            yield f"  {meaning}: {MEANINGS[meaning]}"


def cause(found: Divergence) -> str:
    """Where a difference begins, in whom and why."""
    begins = f"the difference begins at {found.tap}. " if found.tap else ""
    who = f"{found.subject}: " if found.subject else ""
    return f"{who}{begins}{found.explanation}"


def _model(operand: Operand, first: Operand) -> Iterator[str]:
    """What the model is, once for both if they are alike; and what was stated of it."""
    if operand is first or operand.about != first.about:
        yield from architecture_lines(operand.about)
    if operand.model:
        yield f"model fingerprint {operand.model[:16]} (weights and architecture)"
    if operand.stated:
        yield f"{NOT_IN_FILE}{by_hand(operand.stated)}"


def _operand(operand: Operand) -> str:
    if not operand.tensors:
        stated = operand.fingerprint[:16]
        fingerprint = f"fingerprint {stated}" if stated else "no fingerprint"
        return f"{operand.role}: {operand.format}, exported; states {fingerprint}"
    dialect = f", {operand.dialect}" if operand.dialect else ""
    return (
        f"{operand.role}: {operand.format}{dialect}, {operand.parameters:,} parameters "
        f"in {operand.tensors} tensors of {operand.dtype}, "
        f"fingerprint {operand.fingerprint[:16]}"
        + (f"; ran: {operand.ran}" if operand.ran else "")
    )


def check_lines(checks: Iterable[Check], alike: bool = False) -> list[str]:
    """Checks as aligned lines.

    Args:
        checks: What was looked at.
        alike: Whether all have one status: it is not repeated then, and failed checks
            share a line for all kinds of input.
    """
    rows = [_row(group) for group in _groups(checks, alike)]
    return columns([row[1:] for row in rows] if alike else rows)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of equally many cells as lines, the cells below each other."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _groups(checks: Iterable[Check], alike: bool) -> list[list[Check]]:
    """Checks that share a line; what could not be checked shares none."""
    found: dict[tuple[object, ...], list[Check]] = {}
    single = ("not checked",) if alike else ("failed", "not checked")
    for i, check in enumerate(checks):
        if check.status == "reported" and check.level != "config" and not check.message:
            continue
        alone = i if check.status in single else -1
        key = (check.level, check.name, check.subject, check.status, alone)
        found.setdefault(key, []).append(check)
    return list(found.values())


def _row(group: list[Check]) -> tuple[str, ...]:
    """The worst of a group."""
    check = max(group, key=lambda check: check.ratio or 0.0)
    inputs = check.inputs
    if len(group) > 1:
        inputs = f"{len(group)} kinds, worst {check.inputs}"
    ratio = ""
    if check.ratio is not None:
        limit = f" (limit {check.limit:g})" if check.limit is not None else ""
        ratio = f"{check.ratio:.2f}{limit}"
    same = all(check.same_bits for check in group)
    if same and check.level not in ("weights", "reload"):
        ratio = "same bits"
    return (
        MARKS[check.status],
        check.level,
        check.name,
        inputs,
        check.subject,
        "  ".join(filter(None, (ratio, check.message))),
    )
