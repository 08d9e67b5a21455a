"""Writes a verification record: as JSON, as a page, as a comment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.errors import refusal
from converters.files.atomic import atomic, check_output
from converters.parity.cases import write_case_rows
from converters.parity.page import (
    Picture,
    need_extras,
    render_html,
    render_markdown,
)
from converters.parity.record import ParityReport

PRINT = Path("-")


def check_targets(targets: Mapping[str, Path | None], force: bool) -> None:
    """Whether everything can be written, before anything is run.

    Args:
        targets: File by form: `"json"`, `"html"`, `"markdown"`, `"cases"`; `-`
            prints the first and the third.
        force: Whether files that exist are replaced.

    Raises:
        ConversionError: If a file may not be written, or two of them are one.
        MissingExtraError: If a form needs what is not installed.
    """
    paths = [path for path in targets.values() if path not in (None, PRINT)]
    if len({path.resolve() for path in paths if path}) < len(paths):
        raise refusal("two outputs are the same file", file=paths[0] or "")
    if list(targets.values()).count(PRINT) > 1:
        raise refusal("only one of --json and --markdown can be printed")
    if PRINT in (targets.get("html"), targets.get("cases")):
        raise refusal("--report and --case-rows need a file")
    for path in paths:
        if path is not None:
            check_output(path, (), force)
    if targets.get("html") is not None:
        need_extras()


def write_targets(
    report: ParityReport,
    targets: Mapping[str, Path | None],
    force: bool,
    pictures: Sequence[Picture] = (),
) -> str:
    """Writes all files.

    Args:
        report: The record.
        targets: File by form, as of `check_targets`.
        force: Whether files that exist are replaced.
        pictures: What the page alone shows besides.

    Returns:
        What is to be printed instead of a summary, or an empty text.
    """
    printed = ""
    for form, path in targets.items():
        if path is None:
            continue
        if form == "cases":
            write_case_rows(path, report.cases, force=force)
            continue
        text = rendered(report, form, pictures)
        if path == PRINT:
            printed = text
            continue
        with atomic(path, force=force) as made:
            made.write_text(text, encoding="utf-8")
    return printed


def rendered(report: ParityReport, form: str, pictures: Sequence[Picture] = ()) -> str:
    """The record in one of its forms; only a page has pictures."""
    if form == "json":
        return report.to_json() + "\n"
    if form == "html":
        return render_html(report, pictures)
    return render_markdown(report)
