"""Calls that do what a refused one meant: `convert` to an exported model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from converters.errors import refusal
from converters.runtimes.known import MARKERS, NAMED, NAMES, SUFFIXES, meant
from converters.steps.asked import Steps
from converters.wording import call, option


def check_not_exported(
    source: Any,
    target: Path,
    reading: Mapping[str, Any],
    steps: Mapping[str, Any],
    force: bool,
) -> None:
    """Refuses a target that is no file of weights, but a model that runs by itself.

    Args:
        source: Of the conversion.
        target: Its target.
        reading: How the source is to be read: arguments that `export` takes, too.
        steps: Named steps, which it does not take.
        force: Whether an artifact that exists may be replaced.

    Raises:
        ConversionError: With the call of `export` that writes it.
    """
    kind = meant(target)
    if not kind:
        return
    place = _place(target, kind)
    more: dict[str, Any] = {"format": None if kind in SUFFIXES.values() else kind}
    more["force"] = force
    usual = {field.name: field.default for field in fields(Steps)}
    steps = {name: value for name, value in steps.items() if value != usual[name]}
    if steps:
        stepped = place.with_name(f"{place.stem}-steps.safetensors")
        lines = [
            call("convert", source, stepped, **reading, **steps),
            call("export", stepped, place, **more),
        ]
    else:
        lines = [call("export", source, place, **reading, **more)]
    raise refusal(
        f"{NAMES[kind]} holds a graph; convert writes weights, export writes graphs",
        file=target,
        kind="config",
        hint="\n".join(["Use:", *(f"    {line}" for line in lines)]),
    )


def format_meant(source: Any, target: Path, reading: Mapping[str, Any]) -> str:
    """The format that an export's target says by its name.

    Args:
        source: Of the export.
        target: Its target.
        reading: How the source is to be read.

    Raises:
        ConversionError: If its name does not say it, with what would.
    """
    suffix = target.suffix.lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    if suffix in (".safetensors", ".keras", ".h5"):
        raise refusal(
            "export writes graphs, convert writes weights",
            file=target,
            kind="config",
            hint=f"Use:\n    {call('convert', source, target, **reading)}",
        )
    kind = meant(target)
    place = _place(target, kind)
    kinds = [kind] if kind else list(MARKERS)
    lines = [call("export", source, place, **reading, format=one) for one in kinds]
    text = f"{NAMES[kind]} is a folder" if kind else "its name does not say a format"
    known = ", ".join(f"{end} ({NAMES[one]})" for end, one in SUFFIXES.items())
    raise refusal(
        f"{text}; a folder needs {option('format')}, files say it: {known}",
        file=target,
        kind="config",
        hint="\n".join(["Use:", *(f"    {line}" for line in lines)]),
    )


def _place(target: Path, kind: str) -> Path:
    """Where `export` writes it: a folder, or a file with a suffix in small letters."""
    suffix = target.suffix.lower()
    if kind in MARKERS:
        return target.with_suffix("") if suffix in NAMED else target
    return target.with_suffix(suffix)
