"""Pages that show what commands print: found, run again and compared."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from converters.cli.app import app

EXAMPLE = re.compile(r"```text\n\$ vit-duet (.*?)\n(.*?)```", re.DOTALL)
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def examples(page: Path) -> list[tuple[str, str]]:
    """The commands of a page, each with what is printed."""
    return EXAMPLE.findall(page.read_text("utf-8")) if page.exists() else []


def call(line: str):
    """Runs one command where the process is."""
    return CliRunner().invoke(app, shlex.split(line))


VARIES = re.compile(r"(fingerprint|identity|took) .*|[a-z ]+: \d+\.\d\d s")
"""Lines that no page shows: hashes of drawn weights, and how long each phase took."""


def kept(text: str) -> list[str]:
    """The lines that a page shows."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return [line for line in lines if not VARIES.fullmatch(line)]


def shown(text: str) -> list[str]:
    """Lines without what differs from run to run or from test to page."""
    return [re.sub(r"in \d.*", "in ...", line) for line in kept(text)]


def refreshed(page: Path) -> str:
    """The page with what its commands print now, run where the process is."""

    def block(match: re.Match[str]) -> str:
        output = call(match[1]).output
        if shown(output) == shown(match[2]):
            return match[0]
        text = "\n".join(kept(output))
        return f"```text\n$ vit-duet {match[1]}\n{text}\n```"

    return EXAMPLE.sub(block, page.read_text("utf-8"))
