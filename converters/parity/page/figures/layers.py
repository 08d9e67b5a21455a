"""Errors of the steps of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from converters.parity.page.canvas import (
    BAD,
    NOISE,
    ONE,
    TWO,
    drawing,
    floor,
    log_axis,
    panels,
    raised,
)
from converters.parity.page.figures.base import Plot, gaps
from converters.parity.page.text import number, plural, words
from converters.parity.page.view import LayerGroup
from converters.parity.record import LayerRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = 12
"""Most labels on a horizontal axis."""

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

    notes = gaps(own)
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
