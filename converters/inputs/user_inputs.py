"""A user's own inputs: pictures, volumes and arrays, or folders of them.

Every input is known by the SHA-256 of its file. Names and paths are for messages only
and go into no record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.errors import ConversionError, Issue, printable, refusal
from converters.inputs import (
    arrays,
    picture_inputs as pictures,
    series,
    volume_inputs as volumes,
)
from converters.mapping.pipe import count_nonfinite
from vit_config import ViTConfig

Array = NDArray[np.float32]

ARRAYS = (".npy", ".npz")
KNOWN = (*pictures.SUFFIXES, *volumes.SUFFIXES, *ARRAYS)


@dataclass(frozen=True, slots=True)
class Found:
    """Files that were named, or lie in folders that were.

    Attributes:
        files: In the order given; those of a folder sorted by name. A folder among
            them is one DICOM series.
        skipped: Names in the folders that are no inputs.
    """

    files: tuple[Path, ...]
    skipped: tuple[str, ...] = ()

    def note(self) -> str:
        """What was skipped, in one sentence; empty if nothing was."""
        if not self.skipped:
            return ""
        shown = ", ".join(printable(name, 40) for name in self.skipped[:5])
        more = f" and {len(self.skipped) - 5} more" if len(self.skipped) > 5 else ""
        return f"skipped, as no pictures, volumes or arrays: {shown}{more}"


@dataclass(frozen=True, slots=True)
class Input:
    """One input as the model takes it.

    Attributes:
        values: float32 (C, *spatial).
        case: SHA-256 of the file's bytes; all inputs of an array file share it.
        notes: What was done, or not done, that the user may not expect.
    """

    values: Array
    case: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """Inputs in one `.npy` (B, C, *spatial).

    Attributes:
        cases: `Input.case` of each.
        notes: Of all of them, each once, with how many it is true of.
    """

    cases: tuple[str, ...]
    notes: tuple[str, ...]


def find_inputs(paths: Iterable[Path]) -> Found:
    """Lists the inputs that files and folders hold.

    A folder with DICOM slices is one input. Other folders in folders are skipped.

    Raises:
        ConversionError: With every path that does not exist or is no input, and every
            folder without any.
    """
    files: list[Path] = []
    skipped: list[str] = []
    issues: list[Issue] = []
    for path in paths:
        if series.is_series(path):
            files.append(path)
        elif path.is_dir():
            inside = sorted(path.iterdir())
            own = [file for file in inside if not unusable(file)]
            files += own
            skipped += [file.name for file in inside if file not in set(own)]
            if not own:
                what = "a folder without inputs" if inside else "an empty folder"
                wanted = f"files of {', '.join(KNOWN)}, or of one DICOM series"
                issues.append(_issue(path, what, wanted))
        elif problem := unusable(path):
            issues.append(problem)
        else:
            files.append(path)
    if issues:
        raise ConversionError(issues)
    return Found(tuple(files), tuple(skipped))


def suffix(path: Path) -> str:
    """The suffix that says how a file is read; empty if it is no input."""
    name = path.name.lower()
    return next((known for known in KNOWN if name.endswith(known)), "")


def unusable(path: Path) -> Issue | None:
    """What is wrong with a path that should be an input: a file, or a DICOM series."""
    if not path.exists():
        return _issue(path, "no such file")
    if series.is_series(path):
        return None
    if not path.is_file():
        return _issue(path, "not a file")
    if not suffix(path):
        return _issue(path, "another kind of file", f"one of {', '.join(KNOWN)}")
    return None


def _issue(path: Path, found: str, expected: str = "") -> Issue:
    return Issue("file", path.name or str(path), found, expected)


def read_inputs(path: Path, config: ViTConfig) -> Iterator[Input]:
    """The inputs of one file: one, or those of an array.

    Args:
        path: One of `Found.files`, a file or the folder of a DICOM series.
        config: Of the model.

    Raises:
        ConversionError: If it cannot be read, does not fit the model, or holds NaN or
            infinite numbers.
        MissingExtraError: If the library that reads it is not installed.
    """
    kind = suffix(path)
    pixels = kind in pictures.SUFFIXES
    dims = 2 if pixels else 3
    if kind not in ARRAYS and dims != config.spatial_dims:
        found = "a picture" if pixels else "a volume"
        size = " x ".join(map(str, config.img_size))
        raise refusal(f"{found}; the model takes inputs of {size}", file=path)
    case = file_hash(path)
    values: Iterable[tuple[Array, tuple[str, ...]]]
    if kind in ARRAYS:
        values = ((array, ()) for array in arrays.read_array(path, config))
    elif pixels:
        values = [pictures.read_picture(path, config)]
    else:
        values = [volumes.read_volume(path, config)]
    for array, notes in values:
        nan, infinite = count_nonfinite(array)
        if nan or infinite:
            raise refusal(f"{nan} NaN and {infinite} infinite numbers", file=path)
        yield Input(array, case, notes)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; of a folder as `series.digest` says.

    Raises:
        ConversionError: If it cannot be read.
    """
    try:
        if path.is_dir():
            return series.digest(path)
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise refusal(f"unreadable: {error.strerror}", file=path) from None


def count_inputs(path: Path, config: ViTConfig) -> int:
    """How many inputs a file has, without reading them.

    Raises:
        ConversionError: If it is an array that does not fit the model.
    """
    return arrays.count_arrays(path, config) if suffix(path) in ARRAYS else 1


def batches(
    files: Sequence[Path], config: ViTConfig, size: int = 16
) -> Iterator[tuple[Array, tuple[Input, ...]]]:
    """The inputs of many files, a few in memory at a time.

    Args:
        files: Whose inputs.
        config: Of the model.
        size: Inputs of a batch; the last may have fewer.

    Yields:
        Arrays (B, C, *spatial), and the same inputs one by one.

    Raises:
        ConversionError: As `read_inputs`.
    """
    waiting: list[Input] = []
    for path in files:
        for one in read_inputs(path, config):
            waiting.append(one)
            if len(waiting) == size:
                yield np.stack([i.values for i in waiting]), tuple(waiting)
                waiting.clear()
    if waiting:
        yield np.stack([i.values for i in waiting]), tuple(waiting)


def write_inputs(
    target: Path, files: Sequence[Path], config: ViTConfig, most: int | None = None
) -> Written:
    """Writes the inputs of many files into one `.npy` (B, C, *spatial).

    Args:
        target: The file to write.
        files: Whose inputs.
        config: Of the model.
        most: Refuse more inputs than that.

    Raises:
        ConversionError: As `read_inputs`; also for too many inputs.
    """
    count = sum(count_inputs(path, config) for path in files)
    if most is not None and count > most:
        raise refusal(f"{count} inputs; at most {most} are taken")
    shape = (count, config.in_chans, *config.img_size)
    made: Any = np.lib.format.open_memmap(target, "w+", np.float32, shape)
    cases: list[str] = []
    told: dict[str, int] = {}
    for values, inputs in batches(files, config):
        made[len(cases) : len(cases) + len(values)] = values
        cases += [one.case for one in inputs]
        for one in inputs:
            for note in one.notes:
                told[note] = told.get(note, 0) + 1
    made.flush()
    notes = (f"{note} ({times} of {count})" for note, times in told.items())
    return Written(tuple(cases), tuple(notes))
