"""Why two models are not the same, as the message of a failed test."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import signature
from typing import Any

from converters.parity.record import Check, LayerRow, ParityReport, verdict_of
from converters.parity.sentence import sentence
from converters.parity.subject import first_wrong
from converters.parity.text import SHOWN, cause, check_lines, columns
from converters.parity.verify import verify
from converters.wording import COMMAND_LINE

MOST_CHECKS = 12
NEIGHBOURS = 3
"""Steps shown before and after the first wrong one."""


def explain(
    report: ParityReport, repeat: str = "", checks: Sequence[Check] | None = None
) -> str:
    """What a person needs to know about a verification that did not pass.

    Args:
        report: What was found.
        repeat: How to see it again.
        checks: The part of its checks to speak of; all if None.
    """
    checks = report.checks if checks is None else checks
    parts = [
        ("", [sentence(verdict_of(checks), checks, report.setting.level)]),
        ("Failed checks (error / rounding)", _some(checks, "failed")),
        ("Not checked", _some(checks, "not checked")),
        ("Where it begins", list(_causes(report))),
        *_layer_table(report),
        ("To see it again", [repeat] if repeat else []),
    ]
    return "\n".join(_laid_out(parts))


def _laid_out(parts: Iterable[tuple[str, Sequence[str]]]) -> Iterator[str]:
    for title, lines in parts:
        if not lines:
            continue
        if title:
            yield ""
            yield f"{title}:"
        yield from (f"  {line}" if title else line for line in lines)


def _some(checks: Iterable[Check], status: str) -> list[str]:
    lines = check_lines((c for c in checks if c.status == status), alike=True)
    more = len(lines) - MOST_CHECKS
    return lines if more <= 0 else [*lines[:MOST_CHECKS], f"... and {more} more"]


def _causes(report: ParityReport) -> Iterator[str]:
    causes = list(dict.fromkeys(map(cause, report.divergences)))
    yield from causes[:SHOWN]
    if len(causes) > SHOWN:
        yield f"... and {len(causes) - SHOWN} more in report.divergences"


def _layer_table(report: ParityReport) -> Iterator[tuple[str, list[str]]]:
    """The steps around the first wrong one of each subject that has one."""
    for subject in dict.fromkeys(row.subject for row in report.layers):
        rows = [row for row in report.layers if row.subject == subject]
        first = first_wrong(rows)
        if first is None:
            continue
        limit = report.setting.criteria.get("layer_ratio")
        title = f"Layers of {subject} on {first.inputs} (error / rounding"
        title += f", limit {limit:g})" if limit is not None else ")"
        yield title, _around(first, [r for r in rows if r.inputs == first.inputs])


def _around(first: LayerRow, rows: Sequence[LayerRow]) -> list[str]:
    names = list(dict.fromkeys(row.name for row in rows))
    at = names.index(first.name)
    shown = names[max(0, at - NEIGHBOURS) : at + NEIGHBOURS + 1]
    of = {(row.name, row.mode): row for row in rows}
    table: list[tuple[str, ...]] = [("", "step", "from the input on", "alone")]
    for name in shown:
        both = (_figure(of.get((name, mode))) for mode in ("cumulative", "forced"))
        table.append((">" if name == first.name else "", name, *both))
    return columns(table)


def _figure(row: LayerRow | None) -> str:
    if row is None:
        return "-"
    return f"{row.ratio:.2f}{'  FAILED' if row.failed else ''}"


def command(a: Any, b: Any, asked: Mapping[str, Any], verb: str = "verify") -> str:
    """The command line that does the same again; the call, where no words stand for it.

    Args:
        a: As in `converters.verify`.
        b: Likewise.
        asked: Its other arguments.
        verb: Or `"convert"`, which shares those that say how A is to be read.
    """
    own = signature(verify).parameters
    asked = {
        name: value
        for name, value in asked.items()
        if name != "progress" and repr(value) != repr(own[name].default)
    }
    try:
        words = ["vit-duet", verb, _word(a), _word(b), *_options(asked)]
    except TypeError:
        more = "".join(f", {name}={_short(value)}" for name, value in asked.items())
        return f"converters.{verb}({_short(a)}, {_short(b)}{more})"
    return shlex.join(words)


def _options(asked: Mapping[str, Any]) -> Iterator[str]:
    for name, value in asked.items():
        if value is True:
            yield COMMAND_LINE.name(name)
        elif name == "changes":
            for field, to in value.items():
                yield from (COMMAND_LINE.name(name), f"{field}={json.dumps(to)}")
        else:
            several = isinstance(value, list | tuple)
            for one in value if several else (value,):
                yield from (COMMAND_LINE.name(name), _word(one))


def _word(value: Any) -> str:
    """A value as a word of a command.

    Raises:
        TypeError: If it is an object that no word stands for.
    """
    if isinstance(value, int | float):
        return str(value)
    return str(os.fspath(value))


def _short(value: Any) -> str:
    kind = type(value)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str | int | float | tuple | list | dict):
        return repr(value)
    return f"<{kind.__module__}.{kind.__qualname__}>"
