"""What is known of a file whose model nobody said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.libraries.recognise import matches
from converters.libraries.tensor_fields import seen
from converters.mapping.pipe import TensorInfo


@dataclass(frozen=True)
class Partial:
    """A part of what a config would say.

    Attributes:
        dialect: The variant whose names these are, or `"unknown"`.
        fields: Fields of a config that names and shapes say.
        why: What is missing, and what to do about it.
    """

    dialect: str
    fields: Mapping[str, Any]
    why: tuple[str, ...] = ()


def partial(
    tensors: Mapping[str, TensorInfo], dialect: str | None, prefix: str | None
) -> Partial | None:
    """What names and shapes say; None where they are those of no one model."""
    found = matches(tensors, dialect, prefix)
    if len(found) != 1:
        return None
    (match,) = found
    start = len(match.prefix)
    shapes = {
        name[start:]: info.shape
        for name, info in tensors.items()
        if name.startswith(match.prefix)
    }
    return Partial(str(match), seen(match.variant, shapes))
