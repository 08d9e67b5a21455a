"""What all plots share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from converters.parity.page.text import number, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


def gaps(values: Sequence[float]) -> tuple[str, ...]:
    """How many figures are not drawn, if any."""
    missing = sum(not math.isfinite(value) for value in values)
    if not missing:
        return ()
    return (f"{plural(missing, 'figure')} not finite, not drawn",)


def plain(axes: Axes) -> None:
    """Few labels without offsets."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
