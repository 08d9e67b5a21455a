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


def shown(text: str) -> list[str]:
    """Lines without what differs from run to run or from test to page."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    lines = [line for line in lines if not line.startswith("fingerprint")]
    return [re.sub(r"in \d.*", "in ...", line) for line in lines]


def refreshed(page: Path) -> str:
    """The page with what its commands print now, run where the process is."""

    def block(match: re.Match[str]) -> str:
        output = call(match[1]).output
        if shown(output) == shown(match[2]):
            return match[0]
        lines = output.rstrip().splitlines()
        text = "\n".join(line for line in lines if not line.startswith("fingerprint"))
        return f"```text\n$ vit-duet {match[1]}\n{text}\n```"

    return EXAMPLE.sub(block, page.read_text("utf-8"))
