"""Drawings by matplotlib as SVG that lives inside a page.

No text from outside is drawn: names stand beside a plot in HTML. Colours are variables
of the page's style sheet, so that a plot follows it into the dark and onto paper.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from converters.extras import optional
from converters.parity.page.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VARIABLES = ("ink", "muted", "rule", "one", "two", "noise", "bad", "band")
INK, MUTED, RULE, ONE, TWO, NOISE, BAD, BAND = (
    f"#01020{place}" for place in range(len(VARIABLES))
)
"""Colours that stand for variables of the style sheet."""

WIDTH = 5.0
"""Of every plot, inches; on a phone text then keeps its size."""

STYLE = {
    "svg.fonttype": "none",
    "path.simplify": False,
    "font.size": 10.0,
    "text.color": MUTED,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 10.0,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0.0,
    "xtick.major.size": 3.0,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.0,
}

DROPPED = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>",
    re.S,
)
TAG = re.compile(r"<[^>]*>")
FRACTION = re.compile(r'(?<=[\s"(,])-?\d+\.\d+')
FONT = re.compile(r"font(?:-family)?: [^;\"]*'[^;\"]*(?:; )?")
SIZE = re.compile(r"(\d+(?:\.\d+)?px)")


def drawing(
    draw: Callable[[Figure], None], *, key: str, height: float, title: str, text: str
) -> str:
    """One plot as an `<svg>` element; the same bytes for the same plot.

    Args:
        draw: Fills the figure. A line whose gid begins with `@` keeps it as its id.
        key: Unique in the page, of letters, digits and hyphens; begins every id.
        height: In inches; the width is `WIDTH`.
        title: What it shows, for those who do not see it.
        text: What is to be seen in it, likewise.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    matplotlib: Any = optional("matplotlib", "report")
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # A user's matplotlibrc must not move anything: all that counts is set here.
    parts = (
        *("axes.", "lines.", "xtick.", "ytick.", "font.", "text.", "svg.", "path."),
        *("figure.", "grid.", "patch.", "savefig."),
    )
    plain = {
        name: value
        for name, value in matplotlib.rcParamsDefault.items()
        if name.startswith(parts)
    }
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({**plain, **STYLE, "svg.hashsalt": key}):
        figure = Figure(figsize=(WIDTH, height), facecolor="none")
        FigureCanvasSVG(figure)
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=nothing)
    return _inline(file.getvalue(), key, title, text)


def _inline(svg: str, key: str, title: str, text: str) -> str:
    """An SVG file made an element: short, in the page's colours, ids of its own."""
    svg = DROPPED.sub("", svg)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))

    def identity(match: re.Match[str]) -> str:
        name = match[1]
        if name.startswith("@"):
            return f' id="{key}-{name[1:]}"'
        return f' id="{key}-{name}"' if name in used else ""

    def short(match: re.Match[str]) -> str:
        tag = re.sub(r' id="([^"]*)"', identity, match[0])
        tag = re.sub(r'(href="|url\()#', rf"\1#{key}-", tag)
        tag = FONT.sub(_size, tag)
        return FRACTION.sub(lambda found: f"{float(found[0]):.2f}", tag)

    svg = TAG.sub(short, svg)
    for place, name in enumerate(VARIABLES):
        svg = svg.replace(f"#01020{place}", f"var(--{name})")
    head = (
        f'<svg class="plot" viewBox="{_box(svg)}" role="img" '
        f'aria-labelledby="{key}-title {key}-text">'
        f'<title id="{key}-title">{html.escape(title)}</title>'
        f'<desc id="{key}-text">{html.escape(text)}</desc>'
    )
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    return head + re.sub(r"\s*\n\s*", " ", body).strip()


def _size(match: re.Match[str]) -> str:
    """The size out of a font shorthand; the family is the page's."""
    found = SIZE.search(match[0])
    return f"font-size: {found[1]}; " if found else ""


def _box(svg: str) -> str:
    found = re.search(r'viewBox="([^"]*)"', svg)
    return found[1] if found else ""


# ---- axes -------------------------------------------------------------------------


def clean(values: Iterable[float]) -> list[float]:
    """Values to draw: what is not finite leaves a gap."""
    return [value if math.isfinite(value) else math.nan for value in values]


def floor(values: Iterable[float]) -> float:
    """Where a log axis ends that also has to show zeros."""
    above = [value for value in values if math.isfinite(value) and value > 0]
    return min(above) / 3 if above else 1e-9


def raised(values: Iterable[float], least: float) -> list[float]:
    """Values for a log axis: zeros on its lower edge."""
    return [least if value == 0 else value for value in clean(values)]


def log_axis(axes: Axes, least: float, values: Iterable[float]) -> None:
    """Makes the vertical axis logarithmic, from `least` on, with few labels."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    most = max((value for value in values if math.isfinite(value)), default=least)
    axes.set_ylim(least, max(1.6 * most, 100 * least))
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))


def _tick(value: float) -> str:
    return number(value) if 1e-3 <= value < 1e6 else f"{value:.0e}".replace("e-0", "e-")


def panels(figure: Figure, count: int) -> list[Axes]:
    """Axes one below the other with margins that never depend on fonts."""
    height = figure.get_figheight()
    found = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(
        left=0.125,
        right=0.985,
        bottom=0.46 / height,
        top=1 - 0.2 / height,
        hspace=0.22,
    )
    return list(found)
