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
    "cumulative": ("From the input on", ONE),
    "forced": ("Each step alone", TWO),
}


def layer_plot(group: LayerGroup, key: str) -> Plot:
    """Error of every step against the noise floor, on a log axis."""
    shown = [
        (mode, [row for _, row in rows])
        for mode, rows in (("cumulative", group.cumulative), ("forced", group.forced))
        if rows
    ]
    given = [row for _, rows in shown for row in rows]
    errors = [row.error for row in given]
    every = errors + [row.noise for row in given]

    def draw(figure: Figure) -> None:
        for axes, (mode, rows) in zip(panels(figure, len(shown)), shown, strict=True):
            _layer_panel(axes, mode, rows, floor(every))
        axes.set_xlabel("block" if _blocks(rows) else "step")

    title = "Error per step"
    subject = words(", ".join(filter(None, (group.subject, group.inputs))))
    notes = _gaps(every)
    if 0.0 in errors:
        notes += ("exact steps stand on the lower edge",)
    colours = [("one" if mode == "cumulative" else "two", mode) for mode, _ in shown]
    labels = {
        "cumulative": "error from the input on",
        "forced": "error of a step alone",
    }
    legend = tuple((colour, labels[mode]) for colour, mode in colours)
    legend += (("noise", "noise floor"),)
    if group.failed:
        legend += (("bad", "× over its limit"),)
    svg = drawing(
        draw,
        key=key,
        height=0.65 + 1.75 * len(shown),
        title=f"{title}: {subject}",
        text=f"{_peak(given)} {plural(group.failed, 'figure')} over the limit.",
    )
    return Plot(svg, title, subject, legend, notes)


def _peak(rows: Sequence[LayerRow]) -> str:
    finite = [row for row in rows if math.isfinite(row.ratio)]
    if not finite:
        return "No ratio is finite."
    top = max(finite, key=lambda row: row.ratio)
    return f"Largest error: {number(top.ratio)} times the noise, at {words(top.name)}."


def _layer_panel(axes: Axes, mode: str, rows: Sequence[LayerRow], least: float) -> None:
    label, colour = MODES[mode]
    errors = raised([row.error for row in rows], least)
    noise = raised([row.noise for row in rows], least)
    steps = range(len(rows))
    axes.fill_between(steps, noise, least, color=NOISE, alpha=0.16, linewidth=0)
    axes.plot(steps, noise, color=NOISE, linewidth=1.0, gid=f"@{mode}-noise")
    few = len(rows) <= 60
    axes.plot(
        steps,
        errors,
        color=colour,
        marker="." if few else None,
        linewidth=1.2 if few else 0.9,
        gid=f"@{mode}-error",
    )
    failed = [place for place in steps if rows[place].failed]
    if failed:
        axes.plot(
            failed,
            [errors[place] for place in failed],
            color=BAD,
            marker="x",
            linestyle="none",
            gid=f"@{mode}-failed",
        )
    log_axis(axes, least)
    axes.margins(x=0.015)
    axes.set_title(label, loc="left", fontsize=9, color=MUTED, pad=3)
    starts = _blocks(rows)
    every = max(1, -(-len(starts) // LABELS))
    axes.set_xticks(
        [place for _, place in starts][::every], [name for name, _ in starts][::every]
    )


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
        log_axis(axes, 0.5)
        axes.margins(x=0.015)
        every = max(1, -(-count // LABELS))
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
        upper.set_title("given", loc="left", fontsize=9, color=MUTED, pad=3)
        lower.axhline(0.0, color=NOISE, linewidth=0.9)
        lower.plot(exact, apart, color=TWO, gid="@apart", **dots)  # type: ignore[arg-type]
        lower.set_title("given - exact", loc="left", fontsize=9, color=MUTED, pad=3)
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
        upper.set_title("loss", loc="left", fontsize=9, color=MUTED, pad=3)
        _plain(upper)
        least = floor([*mine, *theirs])
        lower.plot(raised(theirs, least), color=INK, linestyle=":", linewidth=1.6)
        lower.plot(raised(mine, least), color=ONE, marker=".", gid="@off")
        log_axis(lower, least)
        lower.set_title("|loss - exact|", loc="left", fontsize=9, color=MUTED, pad=3)
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
