"""Outputs against the exact values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from converters.parity.page.canvas import MUTED, NOISE, ONE, TWO, clean, drawing, panels
from converters.parity.page.figures.base import Plot, gaps, plain
from converters.parity.page.text import number, plural, words
from converters.parity.record import Scatter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 1000
"""Most points drawn of a scatter."""


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
            plain(axes)

    notes = gaps([*found.exact, *found.given])
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
