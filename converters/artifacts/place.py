"""An artifact takes its place at the very end, whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from converters.cards.place import NAME, is_ours
from converters.errors import printable, refusal
from converters.files.atomic import check_output
from converters.files.folder import beside, check_replaced
from converters.runtimes import known
from converters.runtimes.known import MARKERS

VERSION = "1"
"""TensorFlow Serving and OpenVINO's server load the highest number in a folder."""

CARD = NAME

SUFFIXES = {kind: suffix for suffix, kind in known.SUFFIXES.items()}
"""Of the formats that are one file."""


def check_place(
    target: Path, kind: str, sources: tuple[Path, ...], force: bool
) -> None:
    """Refuses a target that cannot, or must not, be written.

    Raises:
        ConversionError: If its name is not one of the format, if it is the source or
            holds it, or if it exists; with `force`, if it is not such an artifact.
    """
    suffix = SUFFIXES.get(kind)
    if suffix is None:
        _check_folder(target, kind, sources, force)
        return
    if not target.name.endswith(suffix) or target.name == suffix:
        raise refusal(
            f"{kind} is written to a file whose name ends with {suffix}",
            file=target,
            kind="config",
        )
    check_output(target, sources, force)


def _check_folder(
    target: Path, kind: str, sources: tuple[Path, ...], force: bool
) -> None:
    if target.name in ("", ".."):
        raise refusal("name the folder itself; it is made anew", file=target)
    if target.suffix in (".keras", ".h5", ".safetensors", *SUFFIXES.values()):
        raise refusal(
            f"{kind} is a folder; {target.suffix} is the name of a file",
            file=target,
            kind="config",
        )
    if not target.parent.is_dir():
        raise refusal(f"no such folder: {target.parent}", file=target)
    if os.path.lexists(target) and (not target.is_dir() or target.is_symlink()):
        raise refusal("exists already, and is no folder", file=target)
    for source in sources:
        with suppress(OSError):
            if target.is_dir() and source.resolve().is_relative_to(target.resolve()):
                raise refusal("the source lies in it", file=target)
    held = sorted(path.name for path in target.iterdir()) if target.is_dir() else []
    others = [name for name in held if name not in (VERSION, CARD)]
    if VERSION in held and not (target / VERSION / MARKERS[kind]).is_file():
        others.append(VERSION)
    if CARD in held and not is_ours(target / CARD):
        others.append(CARD)
    if others:
        raise refusal(
            f'holds what is no exported model: "{printable(others[0])}"',
            file=target,
            hint="Choose a new folder, or take it out first.",
        )
    check_replaced(target, bool(held), force)


@contextmanager
def placed(target: Path, kind: str, *, force: bool) -> Iterator[Path]:
    """A path of the target's name in a folder beside it, moved there at the end.

    Whatever happens before, error or interrupt, leaves the target as it was.

    Args:
        target: What the artifact will be called.
        kind: Its format.
        force: Whether an artifact that is there may be replaced.

    Yields:
        Where to write it; nothing is there yet.
    """
    with beside(target, lambda: check_place(target, kind, (), force)) as made:
        yield made


def files_of(target: Path) -> dict[str, int]:
    """Size of each file of an artifact, by its path below the target's folder."""
    if target.is_file():
        return {target.name: target.stat().st_size}
    return {
        f"{target.name}/{path.relative_to(target).as_posix()}": path.stat().st_size
        for path in sorted(target.rglob("*"))
        if path.is_file()
    }
