"""What is read of a file of embeddings, whichever its format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Pairs = tuple[tuple[str, str], ...]

KEY = "vit_duet_embed"
"""The key in a file's metadata under which embed says what no tensor holds."""


class UnreadableShardError(ValueError):
    """A file that is broken, or that embed did not write."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file of embeddings says.

    Attributes:
        rows: Path and SHA-256 of the file that each row is of.
        unreadable: Path and reason of the files without a row.
        shapes: Shape of each tensor; the first axis is that of the rows.
    """

    rows: Pairs
    unreadable: Pairs
    shapes: dict[str, tuple[int, ...]]


def pairs(found: Any) -> Pairs:
    """Pairs of texts, as JSON has them."""
    return tuple((str(path), str(said)) for path, said in found)
