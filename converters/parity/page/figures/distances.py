"""Distances in units in the last place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from converters.parity.page.canvas import ONE, drawing, log_axis, panels
from converters.parity.page.figures.base import Plot
from converters.parity.page.text import number, plural, words
from converters.parity.record import Histogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIGNS = 58
"""Width of a horizontal axis in signs of its labels."""


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
