"""Losses of some steps of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from converters.parity.page.canvas import (
    INK,
    MUTED,
    NOISE,
    ONE,
    RULE,
    clean,
    drawing,
    floor,
    log_axis,
    panels,
    raised,
)
from converters.parity.page.figures.base import Plot, gaps, plain
from converters.parity.page.text import number, plural, words
from converters.parity.record import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        plain(upper)
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
    notes = gaps([*found.loss, *found.loss_reference, *found.loss_exact])
    if 0.0 in (*mine, *theirs):
        notes += ("no difference stands on the lower edge",)
    title = f"Training, {words(found.optimizer)}"
    return Plot(svg, title, words(found.subject), legend, notes)


def _whole_steps(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.grid(visible=True, axis="y", color=RULE)
