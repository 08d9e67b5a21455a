"""Markdown that text from outside cannot change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from converters.parity.page import text

Row = TypeVar("Row", bound=Sequence[str])

LONGEST = 300
"""Of a sentence from outside, in characters."""

NAME = 120
"""Of a name from outside, likewise."""

SPECIAL = re.compile(r"[\\`*_\[\]~#|!]")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", "$": "&#36;"}


def escaped(found: object, longest: int = LONGEST) -> str:
    """Text from outside as Markdown that shows it, in one line."""
    safe = text.words(found)
    if len(safe) > longest:
        safe = safe[: longest - 1] + "…"
    safe = SPECIAL.sub(r"\\\g<0>", safe)
    safe = "".join(ENTITIES.get(sign, sign) for sign in safe)
    # What becomes a link by itself; `#` and `@` cannot refer any more.
    safe = safe.replace("://", "&#58;//")
    return re.sub(r"www\.", "www&#46;", safe, flags=re.IGNORECASE)


def code(found: object) -> str:
    """The same as code; backticks would not let escapes through."""
    return f"<code>{escaped(found, NAME)}</code>"


def literal(found: object, longest: int = LONGEST) -> str:
    """The same as it is written, between backticks; one in it becomes an apostrophe."""
    safe = text.words(found).replace("`", "'")
    return f"`{safe if len(safe) <= longest else safe[: longest - 1] + '…'}`"


def fitting(rows: list[Row], size: int) -> tuple[list[Row], int]:
    """The first rows of so many bytes in all, and how many are left out."""
    for count, row in enumerate(rows):
        size -= len("".join(row).encode()) + 3 * len(row)
        if size < 0:
            return rows[:count], len(rows) - count
    return rows, 0


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fold(title: str, body: str) -> str:
    """What is seen once its title is clicked on."""
    return f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>"
