"""The record as a comment: for a pull request, or the page of a model."""

from __future__ import annotations

from collections.abc import Sequence

from converters.checks.architecture import NOT_IN_FILE, by_hand
from converters.parity.page import text, view
from converters.parity.page.markup import (
    NAME,
    code,
    escaped,
    fitting,
    fold,
    table,
)
from converters.parity.record import Check, LayerRow, ParityReport

LIMIT = 60_000
"""Bytes; GitHub refuses comments of more than 65,536 characters."""

WORST = 12
"""Rows of a layer table, those nearest to their limit or over it."""


def render_markdown(report: ParityReport) -> str:
    """Renders a record as Markdown of GitHub's kind, below 60 kB.

    Text from outside can form no markup, no link and no mention. Rows that do not fit
    are left out, and it is said how many.

    Args:
        report: What was found.
    """
    parts = [
        _head(report),
        _model(report),
        _meanings(report),
        _divergences(report),
        _gaps(report),
    ]
    parts += [_config(report), _checks(report), _cases(report), _setting(report)]
    parts += [_tensors(report), *_layers(report)]
    kept: list[str] = []
    left = 0
    size = 200  # for the last line
    for part in filter(None, parts):
        size += len(part.encode()) + 2
        if size > LIMIT:
            left += 1
            size -= len(part.encode()) + 2
        else:
            kept.append(part)
    if left:
        kept.append(f"*{text.plural(left, 'section')} left out for length.*")
    return "\n\n".join(kept) + "\n"


def _head(report: ParityReport) -> str:
    sign, word = text.SIGNS[report.verdict], text.WORDS[report.verdict]
    lines = [f"### {sign} {word}: {escaped(report.sentence)}", ""]
    rows = [
        (
            f"**{side.role}**",
            escaped(", ".join(filter(None, (side.format, side.dialect))), NAME),
            f"{side.tensors:,} tensors, {side.parameters:,} × "
            + escaped(side.dtype, NAME)
            if side.tensors
            else "not seen",
            code(text.short(side.fingerprint)),
            code(text.short(side.architecture)),
            code(text.short(side.model)) if side.model else "",
        )
        for side in (report.a, report.b)
    ]
    head = ("", "form", "weights", "fingerprint", "architecture", "model")
    ran = [
        f"\n\nOf {side.role} ran {escaped(side.ran)}."
        for side in (report.a, report.b)
        if side.ran
    ]
    parts = ["\n".join(lines), "\n", table(*_without_empty(head, rows)), *ran]
    return "".join(parts)


def _model(report: ParityReport) -> str:
    """The architecture of both, and what was stated by hand of either."""
    a, b = report.a.about, report.b.about
    every = [(escaped(n), escaped(a.get(n, "")), escaped(b.get(n, ""))) for n in a | b]
    rows, more = fitting(every, 6_000)
    rows += [(f"… and {more} more", "", "")] if more else []
    lines = [
        f"**{side.role}: {NOT_IN_FILE[:-2]}:** {escaped(by_hand(side.stated), 2000)}"
        for side in (report.a, report.b)
        if side.stated
    ]
    shown = [table(("model", "A", "B"), rows)] if rows else []
    return "\n\n".join([*lines, *shown])


def _meanings(report: ParityReport) -> str:
    rows = []
    for found in view.meanings(report):
        said = "– not asked for"
        if found.verdict:
            counts = ", ".join(f"{count} {status}" for status, count in found.counts)
            said = f"{text.SIGNS[found.verdict]} {found.verdict} ({counts})"
        rows.append((f"{found.title}: {found.text}", said))
    return table(("identical as in", ""), rows)


def _divergences(report: ParityReport) -> str:
    lines = []
    for found in report.divergences:
        start = f"**The difference begins at {code(found.tap)}.** " if found.tap else ""
        named = not found.subject or found.subject in found.explanation
        who = "" if named else f" ({escaped(found.subject, NAME)})"
        blamed = [code(name) for name in (*found.tensors[:3], *found.fields[:3])]
        end = f" Most likely: {', '.join(blamed)}." if blamed else ""
        said = escaped(found.explanation.rstrip("."))
        lines.append(f"- {start}{said}{who}.{end}")
    return _list(lines)


def _gaps(report: ParityReport) -> str:
    lines = [
        f"- {_what(check)}: {escaped(check.message) or 'no reason given'}"
        for check in report.not_checked
    ]
    return f"**Not checked**\n\n{_list(lines)}" if lines else ""


def _list(lines: list[str]) -> str:
    kept, more = fitting([(line,) for line in lines], 8_000)
    shown = [line for (line,) in kept]
    return "\n".join([*shown, f"- … and {more} more"] if more else shown)


def _what(check: Check) -> str:
    parts = [check.name, check.inputs and f"on {check.inputs}", check.subject]
    return escaped(", ".join(filter(None, parts)), NAME)


def _config(report: ParityReport) -> str:
    if not report.config:
        return ""
    every = [(code(row.field), code(row.a), code(row.b)) for row in report.config]
    rows, more = fitting(every, 6_000)
    rows += [(f"… and {more} more", "", "")] if more else []
    return table(("config", "A", "B"), rows)


def _checks(report: ParityReport) -> str:
    """Failures first, then the others, as many as fit; the rest is counted."""
    every = []
    order = sorted(
        (check for check in report.checks if check.status != "not checked"),
        key=lambda check: check.status != "failed",
    )
    for check in order:
        every.append(
            (
                text.LEVEL_TITLES[check.level],
                _what(check),
                f"{text.SIGNS[check.status]} {check.status}"
                + (f": {escaped(check.message)}" if check.message else ""),
                _ratio(check),
                _number(check.error),
                _number(check.noise),
                _number(check.max_difference),
                _number((check.ulps or {}).get("max")),
                _number(check.kl),
                _shares(check),
            )
        )
    if not every:
        return ""
    rows, more = fitting(every, 20_000)
    head = (
        *("level", "what", "status", "ratio / limit", "RMS error", "noise"),
        *("max difference", "max ULPs", "KL", "top-1 / top-5"),
    )
    return table(*_without_empty(head, rows)) + (
        f"\n\n*… and {more:,} more check{'s' if more > 1 else ''}.*" if more else ""
    )


def _without_empty(
    head: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """A table without the columns in which nothing stands."""
    used = [i for i in range(len(head)) if any(row[i] for row in rows)]
    return [head[i] for i in used], [[row[i] for i in used] for row in rows]


def _number(value: float | None) -> str:
    return "" if value is None else text.number(value)


def _ratio(check: Check) -> str:
    if check.ratio is None:
        return ""
    limit = "" if check.limit is None else f" / {text.number(check.limit)}"
    return text.ratio(check.ratio, check.limit) + limit


def _shares(check: Check) -> str:
    shares = [share for share in (check.top1, check.top5) if share is not None]
    return " / ".join(text.percent(share) for share in shares)


def _tensors(report: ParityReport) -> str:
    unlike = [row for row in report.tensors if not row.equal]
    if not unlike:
        return ""
    every = [
        (
            code(row.name),
            text.shape(row.shape),
            _number(row.differing),
            _number(row.max_difference),
            _number(row.rms_difference),
        )
        for row in unlike
    ]
    rows, more = fitting(every, 8_000)
    rows += [(f"… and {more} more", "", "", "", "")] if more else []
    whole = text.plural(len(report.tensors), "tensor")
    head = ("tensor", "shape", "differing", "max", "RMS")
    verb = "differs" if len(unlike) == 1 else "differ"
    return fold(f"{len(unlike)} of {whole} {verb}", table(head, rows))


def _layers(report: ParityReport) -> list[str]:
    found = []
    for group in view.layers(report):
        rows: list[tuple[str, str, str, str, str]] = []
        for mode, placed in (("", group.cumulative), ("alone", group.forced)):
            given = [row for _, row in placed]
            rows += [_layer(row, mode) for row in _worst(given)]
        count = len(group.rows)
        who = ", ".join(filter(None, (group.subject, group.inputs)))
        over = text.plural(group.failed, "figure") + " over the limit"
        title = f"Layers: {escaped(who)}, {text.plural(count, 'step')}, {over}"
        head = ("step", "", "ratio", "error", "noise")
        note = f"*The {WORST} largest ratios of each way, in order of computation.*"
        body = table(head, rows)
        cut = max(len(group.cumulative), len(group.forced)) > WORST
        found.append(fold(title, f"{note}\n\n{body}" if cut else body))
    return found


def _worst(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """The largest ratios, in order of computation; NaN is over every limit."""

    def size(place: int) -> tuple[bool, float]:
        ratio = rows[place].ratio
        return ratio != ratio, 0.0 if ratio != ratio else ratio

    top = sorted(range(len(rows)), key=size, reverse=True)[:WORST]
    return [rows[place] for place in sorted(top)]


def _layer(row: LayerRow, mode: str) -> tuple[str, str, str, str, str]:
    mark = " ✗" if row.failed else ""
    return (
        code(row.name),
        mode,
        text.number(row.ratio) + mark,
        text.number(row.error),
        text.number(row.noise),
    )


def _cases(report: ParityReport) -> str:
    lines = [
        f"- {found.changed:,} of {found.count:,} decisions changed, "
        f"{text.percent(found.confidence)} upper bound "
        f"{text.percent(found.upper_bound)} ({escaped(found.subject, NAME)})"
        for found in report.cases
    ]
    return f"**Cases**\n\n{_list(lines)}" if lines else ""


def _setting(report: ParityReport) -> str:
    found = report.setting
    criteria = found.criteria_hash
    rows = [
        ("level", escaped(found.level)),
        ("device, type", escaped(f"{found.device}, {found.dtype}")),
        ("Keras backends", escaped(", ".join(found.backends) or "none", NAME)),
        ("seed", str(found.seed)),
        ("own inputs", f"{found.inputs:,}"),
        ("versions", _pairs(found.versions)),
        ("flags", _pairs(found.flags)),
        ("criteria", f"SHA-256 {code(criteria)}" if criteria else "built in"),
        ("by", escaped(report.producer)),
    ]
    return fold("Setting", table(("", ""), [row for row in rows if row[1]]))


def _pairs(found: dict[str, str]) -> str:
    every = [
        (f"{escaped(key, NAME)} {escaped(value, NAME)}",)
        for key, value in found.items()
    ]
    rows, more = fitting(every, 3_000)
    shown = [pair for (pair,) in rows]
    return ", ".join([*shown, f"… and {more} more"] if more else shown)
