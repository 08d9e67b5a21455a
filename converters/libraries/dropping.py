"""Tensors that the caller leaves out, by patterns of their names."""

from __future__ import annotations

import glob as globs
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from converters.errors import ConversionError, Issue, printable
from converters.wording import Blank, options


def step(pattern: str) -> str:
    """A pattern's text in `source.steps`."""
    return f"drop:{pattern}"


def matching(
    patterns: Sequence[str], names: Collection[str], file: Path
) -> dict[str, str]:
    """The tensors that patterns name, each with the first that does.

    Raises:
        ConversionError: If a pattern names none.
    """
    found: dict[str, str] = {}
    issues = []
    for pattern in patterns:
        hits = [name for name in names if fnmatchcase(name, pattern)]
        if not hits:
            given = options(drop=printable(pattern))
            issues.append(Issue("config", "", f"{given}: no tensor has such a name"))
        for name in hits:
            found.setdefault(name, pattern)
    if issues:
        tops = ", ".join(f"{printable(top)}" for top in first_levels(names)[:8])
        raise ConversionError(issues, file=file, hint=f"Names begin with: {tops}.")
    return found


def first_levels(names: Iterable[str]) -> list[str]:
    """What names begin with, up to the first dot; a name without one as it is."""
    tops = {head + dot for head, dot, _ in (name.partition(".") for name in names)}
    return sorted(tops)


def patterns_for(names: Iterable[str], kept: Collection[str]) -> list[str]:
    """The shortest patterns that name these tensors and none of the kept ones."""
    found: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts)):
            start = ".".join(parts[:end]) + "."
            if not any(other.startswith(start) for other in kept):
                found[f"{globs.escape(start)}*"] = None
                break
        else:
            found[globs.escape(name)] = None
    return list(found)


def check_not_needed(
    dropped: Mapping[str, str], needed: Mapping[str, tuple[int, ...]], file: Path
) -> None:
    """Whether the model can do without what is left out.

    Args:
        dropped: Tensors that the caller leaves out, each with the pattern.
        needed: Every tensor of the model, with its shape.
        file: The file, for messages.

    Raises:
        ConversionError: With every tensor that it needs.
    """
    issues = [
        Issue(
            "missing", name, f"left out by {options(drop=pattern)}", str(needed[name])
        )
        for name, pattern in dropped.items()
        if name in needed
    ]
    if issues:
        hint = (
            "The model has these tensors. A head is left out by "
            f"{options(num_classes=0)}, and drawn anew with "
            f"{options(allow_missing=Blank('GLOB'))}."
        )
        raise ConversionError(issues, file=file, hint=hint)
