"""The files of a folder, and whether they are still the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.errors import ConversionError, Issue, refusal
from converters.inputs import series
from converters.inputs.files import EXPECTED, walk
from converters.wording import options


@dataclass(frozen=True, slots=True)
class Listed:
    """A file, or a folder that is one DICOM series, when the folder was listed.

    Attributes:
        path: Relative to the folder, `/` between parts.
        size: Bytes; of a series in all.
        mtime_ns: When it was last changed; of a series the last of its files.
    """

    path: str
    size: int
    mtime_ns: int

    def to_json(self) -> str:
        """One line."""
        fields = {"path": self.path, "size": self.size, "mtime_ns": self.mtime_ns}
        return json.dumps(fields)


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file, or of a series, by which a change is seen."""
    if path.is_dir():
        return series.stamp(path)
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def list_folder(folder: Path) -> list[Listed]:
    """All inputs in a folder, sorted by their path.

    Raises:
        ConversionError: If it is no folder, or has no inputs.
    """
    if not folder.is_dir():
        text = "not a folder" if folder.exists() else "no such folder"
        raise refusal(text, file=folder)
    found = []
    for path in walk(folder):
        try:
            found.append(Listed(path, *stamp(folder / path)))
        except FileNotFoundError:
            continue  # gone since
    if not found:
        empty = not any(folder.iterdir())
        text = "an empty folder" if empty else "a folder without inputs"
        raise refusal(f"{text}; expected {EXPECTED}", file=folder)
    return found


def lines(files: Sequence[Listed]) -> Iterator[str]:
    """The list as it is kept."""
    return (file.to_json() for file in files)


def read_list(path: Path) -> list[Listed]:
    """The list that was kept.

    Raises:
        ConversionError: If it is not one.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            return [Listed(**json.loads(line)) for line in stream]
    except (OSError, ValueError, TypeError) as error:
        raise refusal(f"not the list that embed wrote: {error}", file=path) from None


def check_same(kept: Sequence[Listed], now: Sequence[Listed], out: Path) -> None:
    """Refuses to go on with a folder that is no longer what it was.

    Raises:
        ConversionError: With files that vanished, came, or were changed.
    """
    before, after = ({file.path: file for file in files} for files in (kept, now))
    issues = [
        Issue("file", path, "vanished since") for path in before if path not in after
    ]
    issues += [Issue("file", path, "new") for path in after if path not in before]
    issues += [
        Issue("file", path, "changed since")
        for path, file in before.items()
        if path in after and after[path] != file
    ]
    if issues:
        raise ConversionError(
            issues,
            file=out,
            hint="The folder is not what it was when this was begun. Begin anew with "
            f"{options(force=True)}, or write to another folder.",
        )
