"""The plots of a record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from converters.parity.page.canvas import (
    BAD,
    INK,
    MUTED,
    NOISE,
    ONE,
    RULE,
    TWO,
    clean,
    drawing,
    floor,
    log_axis,
    panels,
    raised,
)
from converters.parity.page.text import number, plural, words
from converters.parity.page.view import LayerGroup
from converters.parity.record import Curve, Histogram, LayerRow, Scatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 1000
"""Most points drawn of a scatter."""

SIGNS = 58
"""Width of a horizontal axis in signs of its labels."""

LABELS = 12
"""Most labels on a horizontal axis."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot with its words.

    Attributes:
        svg: The element.
        title: What it shows.
        subject: Of what.
        key: What its colours stand for: (variable of the style sheet, words).
        notes: What else has to be said.
    """

    svg: str
    title: str
    subject: str
    key: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


def _gaps(values: Sequence[float]) -> tuple[str, ...]:
    missing = sum(not math.isfinite(value) for value in values)
    if not missing:
        return ()
    return (f"{plural(missing, 'figure')} not finite, not drawn",)


# ---- layers -----------------------------------------------------------------------

MODES = {
    "cumulative": ("Error from the input on", ONE, "one"),
    "forced": ("Error of each step alone", TWO, "two"),
}


def layer_plots(group: LayerGroup, key: str) -> list[Plot]:
    """Error of every step against the noise floor, on the same log axis both ways."""
    ways = (("cumulative", group.cumulative), ("forced", group.forced))
    every = [
        value
        for _, placed in ways
        for _, row in placed
        for value in (row.error, row.noise)
    ]
    subject = words(", ".join(filter(None, (group.subject, group.inputs))))
    return [
        _layer_plot(mode, [row for _, row in placed], every, subject, f"{key}-{mode}")
        for mode, placed in ways
        if placed
    ]


def _layer_plot(
    mode: str,
    rows: Sequence[LayerRow],
    every: Sequence[float],
    subject: str,
    key: str,
) -> Plot:
    title, _, colour = MODES[mode]
    own = [value for row in rows for value in (row.error, row.noise)]

    def draw(figure: Figure) -> None:
        (axes,) = panels(figure, 1)
        _layer_panel(axes, mode, rows, every)

    notes = _gaps(own)
    if 0.0 in [row.error for row in rows]:
        notes += ("exact steps stand on the lower edge",)
    legend: tuple[tuple[str, str], ...] = ((colour, "error"), ("noise", "noise floor"))
    over = sum(row.failed for row in rows)
    if over:
        legend += (("bad", "× over its limit"),)
    svg = drawing(
        draw,
        key=key,
        height=2.6,
        title=f"{title}: {subject}",
        text=f"{_peak(rows)} {plural(over, 'step')} over the limit.",
    )
    return Plot(svg, title, subject, legend, notes)


def _peak(rows: Sequence[LayerRow]) -> str:
    finite = [row for row in rows if math.isfinite(row.ratio)]
    if not finite:
        return "No ratio is finite."
    top = max(finite, key=lambda row: row.ratio)
    return f"Largest error: {number(top.ratio)} times the noise, at {words(top.name)}."


def _layer_panel(
    axes: Axes, mode: str, rows: Sequence[LayerRow], every: Sequence[float]
) -> None:
    _, colour, _ = MODES[mode]
    least = floor(every)
    errors = raised([row.error for row in rows], least)
    noise = raised([row.noise for row in rows], least)
    steps = range(len(rows))
    axes.fill_between(steps, noise, least, color=NOISE, alpha=0.16, linewidth=0)
    axes.plot(steps, noise, color=NOISE, linewidth=1.0, gid="@noise")
    few = len(rows) <= 60
    axes.plot(
        steps,
        errors,
        color=colour,
        marker="." if few else None,
        linewidth=1.2 if few else 0.9,
        gid="@error",
    )
    failed = [place for place in steps if rows[place].failed]
    if failed:
        axes.plot(
            failed,
            [errors[place] for place in failed],
            color=BAD,
            marker="x",
            linestyle="none",
            gid="@failed",
        )
    log_axis(axes, least, every)
    axes.margins(x=0.015)
    starts = _blocks(rows)
    step = max(1, -(-len(starts) // LABELS))
    axes.set_xticks(
        [place for _, place in starts][::step], [name for name, _ in starts][::step]
    )
    axes.set_xlabel("block" if starts else "step")


def _blocks(rows: Sequence[LayerRow]) -> list[tuple[str, int]]:
    """(Number of a block, place of its first step)."""
    found: dict[str, int] = {}
    for place, row in enumerate(rows):
        parts = row.name.split(".")
        if parts[0] == "blocks" and len(parts) > 1 and parts[1].isdigit():
            found.setdefault(parts[1], place)
    return list(found.items())


# ---- distances in units in the last place -------------------------------------------


def histogram_plot(found: Histogram, key: str) -> Plot:
    """How many numbers are how far from the reference."""
    count = min(len(found.counts), len(found.edges) - 1)
    counts = [max(value, 0) for value in found.counts[:count]]
    labels = [_bin(found.edges[i], found.edges[i + 1]) for i in range(count)]

    def draw(figure: Figure) -> None:
        (axes,) = panels(figure, 1)
        # A log axis has no zero: bars stand on one half, and empty ones are not drawn.
        heights = [max(value - 0.5, 0.0) for value in counts]
        axes.bar(range(count), heights, 0.86, 0.5, color=ONE, linewidth=0)
        log_axis(axes, 0.5, counts)
        axes.margins(x=0.015)
        every = _apart(labels)
        axes.set_xticks(range(0, count, every), labels[::every])
        axes.set_xlabel("units in the last place")

    whole = sum(counts)
    exact = counts[0] if counts and labels[0] == "0" else 0
    svg = drawing(
        draw,
        key=key,
        height=2.1,
        title=f"Distance of {words(found.name)}: {words(found.subject)}",
        text=f"{plural(whole, 'number')}, {exact:,} of them exactly the reference's.",
    )
    title = f"Distance from the reference, {words(found.name)}"
    return Plot(svg, title, words(found.subject), (("one", "numbers, log scale"),))


def _apart(labels: Sequence[str]) -> int:
    """Every which label can be shown so that they do not run into each other."""
    widest = max(map(len, labels), default=1) + 1
    return max(1, -(-len(labels) * widest // SIGNS))


def _bin(low: float, high: float) -> str:
    if not math.isfinite(high):
        return f"{_brief(low)}+"
    if low == int(low) and high == int(high):
        low, high = int(low), int(high) - 1
        return _brief(low) if low == high else f"{_brief(low)}–{_brief(high)}"
    return _brief(low)


def _brief(value: float) -> str:
    """A border with at most three or four signs."""
    if not math.isfinite(value) or abs(value) < 1000:
        return number(value)
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.0f}{sign}"
    return number(value)


# ---- outputs ----------------------------------------------------------------------


def scatter_plot(found: Scatter, key: str) -> Plot:
    """What the subject gives against the exact values, and what is between them."""
    pairs = list(zip(clean(found.exact), clean(found.given), strict=False))
    whole = len(pairs)
    pairs = pairs[:: max(1, -(-whole // POINTS))]
    exact = [x for x, _ in pairs]
    given = [y for _, y in pairs]
    apart = [y - x for x, y in pairs]

    def draw(figure: Figure) -> None:
        upper, lower = panels(figure, 2)
        known = [x for x in exact if math.isfinite(x)] or [0.0]
        ends = [min(known), max(known)]
        upper.plot(ends, ends, color=NOISE, linewidth=0.9)
        dots = {"marker": ".", "linestyle": "none", "markersize": 3.0}
        upper.plot(exact, given, color=ONE, gid="@given", **dots)  # type: ignore[arg-type]
        upper.set_title("given", loc="left", fontsize=10, color=MUTED, pad=3)
        lower.axhline(0.0, color=NOISE, linewidth=0.9)
        lower.plot(exact, apart, color=TWO, gid="@apart", **dots)  # type: ignore[arg-type]
        lower.set_title("given - exact", loc="left", fontsize=10, color=MUTED, pad=3)
        lower.set_xlabel("exact")
        for axes in (upper, lower):
            _plain(axes)

    notes = _gaps([*found.exact, *found.given])
    if len(pairs) < whole:
        notes += (f"{len(pairs):,} of {whole:,} points drawn",)
    finite = [abs(value) for value in apart if math.isfinite(value)]
    svg = drawing(
        draw,
        key=key,
        height=3.9,
        title=f"{words(found.name)} against the exact values: {words(found.subject)}",
        text=f"{plural(whole, 'point')}; the largest difference drawn is "
        f"{number(max(finite, default=math.nan))}.",
    )
    title = f"{words(found.name).capitalize()} against the exact values"
    legend = (("one", "given"), ("two", "given - exact"), ("noise", "equal"))
    return Plot(svg, title, words(found.subject), legend, notes)


def _plain(axes: Axes) -> None:
    """Few labels without offsets."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


# ---- training ---------------------------------------------------------------------


def curve_plot(found: Curve, key: str) -> Plot:
    """The loss, and how far it is from the exact one."""

    def off(losses: Sequence[float]) -> list[float]:
        return [abs(x - y) for x, y in zip(losses, found.loss_exact, strict=False)]

    mine, theirs = off(found.loss), off(found.loss_reference)

    def draw(figure: Figure) -> None:
        upper, lower = panels(figure, 2)
        upper.plot(clean(found.loss_exact), color=NOISE, linewidth=3.0, gid="@exact")
        upper.plot(clean(found.loss_reference), color=INK, linestyle=":", linewidth=1.6)
        upper.plot(clean(found.loss), color=ONE, gid="@loss")
        upper.set_title("loss", loc="left", fontsize=10, color=MUTED, pad=3)
        _plain(upper)
        least = floor([*mine, *theirs])
        lower.plot(raised(theirs, least), color=INK, linestyle=":", linewidth=1.6)
        lower.plot(raised(mine, least), color=ONE, marker=".", gid="@off")
        log_axis(lower, least, [*mine, *theirs])
        lower.set_title("|loss - exact|", loc="left", fontsize=10, color=MUTED, pad=3)
        lower.set_xlabel("step")
        _whole_steps(lower)

    last = found.loss[-1] if found.loss else math.nan
    svg = drawing(
        draw,
        key=key,
        height=3.7,
        title=f"Training with {words(found.optimizer)}: {words(found.subject)}",
        text=f"Loss after {plural(max(len(found.loss) - 1, 0), 'step')}: "
        f"{number(last)}; drift {number(found.drift)}.",
    )
    legend = (
        ("one", "this model"),
        ("ink", "torch twin, same type (dotted)"),
        ("noise", "torch twin, float64"),
    )
    notes = _gaps([*found.loss, *found.loss_reference, *found.loss_exact])
    if 0.0 in (*mine, *theirs):
        notes += ("no difference stands on the lower edge",)
    title = f"Training, {words(found.optimizer)}"
    return Plot(svg, title, words(found.subject), legend, notes)


def _whole_steps(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.grid(visible=True, axis="y", color=RULE)
