"""Where a card lies, and whether one that is there may be written anew."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from converters.errors import refusal
from converters.files.atomic import atomic
from converters.wording import options

NAME = "README.md"
MARK = "<!-- Written by vit-duet; it is written anew with the model. -->"
"""The line that tells our cards from what a user wrote."""


def beside(target: Path) -> Path:
    """The card of a file: `model.onnx.README.md`; a `README.md` is the user's."""
    return target.with_name(f"{target.name}.{NAME}")


def is_ours(card: Path) -> bool:
    """Whether a file is a card that was written here."""
    with suppress(OSError):
        return card.is_file() and MARK.encode() in card.read_bytes()
    return False


def check_card(card: Path) -> None:
    """Refuses to replace what is no card of ours.

    Raises:
        ConversionError: If there is such a file.
    """
    if (card.exists() or card.is_symlink()) and not is_ours(card):
        raise refusal(
            "is there, and was not written here",
            file=card,
            hint="The card of the model would be written to it: move it, or "
            f"{options(card=False)}.",
        )


def write_card(card: Path, text: str) -> None:
    """Writes a card, whole or not at all."""
    with atomic(card, force=True) as path:
        path.write_text(text, encoding="utf-8")
