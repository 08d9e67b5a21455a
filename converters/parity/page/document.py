"""The page: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from converters.extras import optional
from converters.parity.page import figures, pictures as embedded, text, view
from converters.parity.page.pictures import Picture
from converters.parity.record import ParityReport

FOLDED = 40
"""Longer tables are folded until somebody opens them."""


def render_html(report: ParityReport, pictures: Sequence[Picture] | None = None) -> str:
    """Renders a record as one self-contained HTML page.

    The page loads nothing and says so in its content security policy; it works without
    JavaScript, which only adds the search. Every figure carries `data-at`, its place in
    the record (a JSON pointer, RFC 6901), and the record itself is in the element with
    the id `record`. The same record gives the same bytes.

    Args:
        report: What was found.
        pictures: The user's inputs with the attention of both models. They are not in
            the record; the page shows them to whoever gets it.

    Raises:
        MissingExtraError: If jinja2 or matplotlib is not installed.
    """
    need_extras()
    jinja2: Any = optional("jinja2", "report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        at=_Figures(optional("markupsafe", "report").Markup),
        plural=text.plural,
        words=text.words,
        short=text.short,
        signs=text.SIGNS,
        folded=FOLDED,
    )
    environment.filters.update(shape=text.shape, step=text.step)
    style, script = _template("page.css"), _template("page.js")
    page: str = environment.get_template("page.html").render(
        report=report,
        word=text.WORDS[report.verdict],
        style=style,
        script=script,
        script_hash=_integrity(script),
        record=_record(report),
        parts=tuple(report.a.about | report.b.about),
        meanings=view.meanings(report),
        levels=view.levels(report),
        layers=view.layers(report),
        plots=_plots(report),
        pictures=embedded.views(pictures or ()),
        unlike=[(i, row) for i, row in enumerate(report.tensors) if not row.equal],
        criteria=text.leaves(report.setting.criteria, "/setting/criteria"),
        gradients=view.grouped(report.gradients, lambda row: row.subject),
    )
    return page


def need_extras() -> None:
    """Checks, before anything long is run, that a page can be rendered.

    Raises:
        MissingExtraError: If jinja2 or matplotlib is not installed.
    """
    for name in ("jinja2", "matplotlib"):
        optional(name, "report")


def _template(name: str) -> str:
    folder = files("converters.parity.page").joinpath("templates")
    return folder.joinpath(name).read_text("utf-8")


def _integrity(script: str) -> str:
    """What a content security policy calls a script by."""
    digest = hashlib.sha256(script.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()


def _record(report: ParityReport) -> str:
    """The record as JSON in which nothing can end the element around it."""
    found = report.model_dump_json()
    for sign in "<>&\u2028\u2029":
        found = found.replace(sign, f"\\u{ord(sign):04x}")
    return found


def _plots(report: ParityReport) -> dict[str, list[figures.Plot]]:
    """All plots by section; ids begin with section and number."""
    return {
        "layers": [
            plot
            for i, group in enumerate(view.layers(report))
            for plot in figures.layer_plots(group, f"layers-{i}")
        ],
        "ulps": [
            figures.histogram_plot(found, f"ulps-{i}")
            for i, found in enumerate(report.histograms)
            if found.counts
        ],
        "scatter": [
            figures.scatter_plot(found, f"scatter-{i}")
            for i, found in enumerate(report.scatters)
            if found.exact
        ],
        "training": [
            figures.curve_plot(found, f"training-{i}")
            for i, found in enumerate(report.curves)
            if found.loss
        ],
    }


class _Figures:
    """Writes figures and words of the record into the page, each with its place."""

    def __init__(self, markup: Any) -> None:
        self.markup = markup

    def _span(self, pointer: str, shown: str, title: str = "") -> Any:
        more = f' title="{html.escape(title)}"' if title else ""
        place = html.escape(pointer)
        return self.markup(f'<span data-at="{place}"{more}>{html.escape(shown)}</span>')

    def number(self, pointer: str, value: float | None, full: bool = False) -> Any:
        """A figure; nothing where there is none."""
        if value is None:
            return ""
        shown = text.number(value)
        title = repr(value) if full and shown != repr(value) else ""
        return self._span(pointer, shown, title)

    def percent(self, pointer: str, value: float | None) -> Any:
        """A share."""
        return "" if value is None else self._span(pointer, text.percent(value))

    def ratio(self, pointer: str, value: float, limit: float | None) -> Any:
        """A ratio, told from its limit."""
        return self._span(pointer, text.ratio(value, limit), repr(value))

    def word(self, pointer: str, value: object) -> Any:
        """Text, as it is in the record."""
        return self._span(pointer, text.words(value))

    def count(self, rows: str, value: int, **where: str) -> Any:
        """How many rows of the record there are, or have these values."""
        match = "&".join(f"{name}={found}" for name, found in where.items())
        return self.markup(
            f'<span data-count="{html.escape(rows)}" data-where="{html.escape(match)}">'
            f"{value:,}</span>"
        )

    def bar(self, value: float, limit: float) -> Any:
        """A bar from 0 to one and a half times the limit, which has its mark."""
        over = not value <= limit
        share = value / (1.5 * limit) if limit > 0 else float(over)
        width = 100 * min(max(share, 0.0), 1.0) if share == share else 100.0
        kind = "bar over" if over else "bar"
        return self.markup(
            f'<span class="{kind}" aria-hidden="true"><i style="width:{width:.1f}%">'
            "</i></span>"
        )
