"""Folders that are one input: the slices of a DICOM series.

`converters.inputs.scan` reads them. Here they are only recognised, by the four
letters that every DICOM file has after 128 bytes (PS3.10, 7.1), and told apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

_MARK = b"DICM"
_SUFFIXES = ("", ".dcm", ".dicom", ".ima")


def is_series(folder: Path, names: Iterable[str] | None = None) -> bool:
    """Whether slices of a DICOM series lie in a folder.

    Args:
        folder: It itself is looked at, not the folders in it.
        names: What lies in it; listed if None.
    """
    if names is None:
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else ()
    return any(_may_be(name) and _is_dicom(folder / name) for name in names)


def _may_be(name: str) -> bool:
    """Scanners name slices IM00001, 1.2.840.113619.2.5 or 001.dcm."""
    suffix = Path(name).suffix.lower()
    return (suffix in _SUFFIXES or suffix[1:].isdigit()) and name != "DICOMDIR"


def _is_dicom(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == _MARK
    except OSError:
        return False


def stamp(folder: Path) -> tuple[int, int]:
    """Bytes of its files in all, and when the last of them was changed."""
    found = [path.stat() for path in _files(folder)]
    return sum(one.st_size for one in found), max(
        (one.st_mtime_ns for one in found), default=0
    )


def digest(folder: Path) -> str:
    """SHA-256 over what `LC_ALL=C sha256sum *` prints in the folder."""
    whole = hashlib.sha256()
    for path in _files(folder):
        with path.open("rb") as stream:
            one = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{one}  {path.name}\n".encode())
    return whole.hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())
