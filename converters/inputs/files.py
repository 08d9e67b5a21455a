"""A user's files as inputs of a model: pictures, volumes and arrays."""

from __future__ import annotations

import glob
import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.errors import ConversionError, Issue, printable, refusal
from converters.inputs import arrays, series, volume
from converters.inputs.picture import SUFFIXES, read_picture
from converters.inputs.prepare import prepare
from converters.inputs.prepare_volume import prepare_volume
from converters.inputs.user_inputs import ARRAYS, KNOWN, suffix, unusable
from converters.mapping.pipe import count_nonfinite
from vit_config import ViTConfig
from vit_config.preprocess import Plan, make_plan
from vit_config.preprocess_volume import VolumePlan, make_volume_plan

Array = NDArray[np.float32]

EXPECTED = f"files of {', '.join(KNOWN)}, or folders of one DICOM series"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file to read, or a folder that is one DICOM series.

    Attributes:
        path: Where it is.
        name: What it is called: as it was given, or its path in the folder that was.
    """

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class Input:
    """One input as the model takes it.

    Attributes:
        values: float32 (C, *spatial).
        notes: What was done that the user may not expect.
    """

    values: Array
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """What one file holds.

    Attributes:
        inputs: One, or those of an array.
        sha256: Of the file's bytes; of a folder as `series.digest` says.
    """

    inputs: tuple[Input, ...]
    sha256: str


def find_entries(named: Iterable[str | os.PathLike[str]]) -> tuple[Entry, ...]:
    """Lists the inputs among files, folders and patterns (`scans/**/*.png`).

    Folders are searched through and through, and sorted by path; what is no input is
    left out there, and refused where it was named itself. A folder with DICOM slices is
    one input.

    Raises:
        ConversionError: With every name that is nothing, every pattern that nothing
            matches, and every folder without inputs.
    """
    found: list[Entry] = []
    issues: list[Issue] = []
    for name in named:
        path = Path(name)
        if path.is_dir():
            inside = walk(path)
            found += [Entry(path / part, _joined(name, part)) for part in inside]
            if not inside:
                issues.append(_empty(path))
        elif not path.exists() and glob.has_magic(str(name)):
            matched = sorted(glob.glob(str(name), recursive=True))  # noqa: PTH207
            inputs = [m for m in matched if _is_input(Path(m))]
            found += [Entry(Path(match), match) for match in inputs]
            if not inputs:
                text = f"matches {len(matched)} files, no input" if matched else ""
                issues.append(Issue("file", str(name), text or "matches no file"))
        elif problem := unusable(path):
            issues.append(problem)
        else:
            found.append(Entry(path, str(name)))
    if issues:
        raise ConversionError(issues)
    if not found:
        raise refusal("no inputs were named", kind="config")
    return tuple(found)


def _joined(name: str | os.PathLike[str], part: str) -> str:
    return str(name) if part == "." else os.path.join(name, part)  # noqa: PTH118


def _is_input(path: Path) -> bool:
    return bool(suffix(path) and path.is_file()) or series.is_series(path)


def walk(folder: Path) -> list[str]:
    """Paths of all inputs in a folder, relative to it, `/` between parts, sorted.

    A folder with DICOM slices is one of them, `.` if it is the folder itself.

    Raises:
        ConversionError: If a folder in it cannot be listed.
    """
    found = []

    def stop(error: OSError) -> None:
        raise refusal(f"cannot be listed: {error.strerror}", file=str(error.filename))

    for here, _, names in os.walk(folder, onerror=stop):
        inside = Path(here).relative_to(folder)
        if series.is_series(Path(here), names):
            found.append(inside.as_posix())
        for name in names:
            if suffix(Path(name)) and (Path(here) / name).is_file():
                found.append((inside / name).as_posix())
    return sorted(found)


def _empty(path: Path) -> Issue:
    what = "a folder without inputs" if any(path.iterdir()) else "an empty folder"
    return Issue("file", path.name or str(path), what, EXPECTED)


def are_raw(entries: Iterable[Entry], spatial_dims: int) -> bool:
    """Whether any of them is a picture, or for a model of volumes a volume."""
    if spatial_dims == 2:
        return any(suffix(entry.path) in SUFFIXES for entry in entries)
    return any(
        suffix(entry.path) in volume.SUFFIXES or entry.path.is_dir()
        for entry in entries
    )


class InputReader:
    """Reads files as inputs of one model; may be used from several threads.

    Args:
        config: Of the model.
    """

    def __init__(self, config: ViTConfig) -> None:
        self._config = config
        self._plan: Plan | None = None
        self._volume_plan: VolumePlan | None = None

    def __call__(self, path: Path, name: str = "", most: int | None = None) -> Read:
        """The inputs of one file.

        Args:
            path: The file, or the folder of a DICOM series.
            name: What to call it in messages.
            most: Refuse a file with more inputs.

        Raises:
            ConversionError: If it cannot be read, does not fit the model, or holds NaN
                or infinite numbers.
            ConfigError: If it is a picture or a volume, and the config does not state
                its preprocessing.
            MissingExtraError: If the library that reads it is not installed.
        """
        called = Path(name or path.name)
        folder = path.is_dir()
        kind = "" if folder else suffix(path)
        try:
            if kind in ARRAYS:
                count = arrays.count_arrays(path, self._config)
                if most is not None and count > most:
                    raise refusal(f"{count} inputs; at most {most}", file=called)
                inputs = tuple(Input(x) for x in self._array(path))
                digest = _digest(path)
            elif kind in SUFFIXES:
                data = path.read_bytes()
                inputs = (self._picture(called, data),)
                digest = hashlib.sha256(data).hexdigest()
            else:
                inputs = (self._volume(path),)
                digest = series.digest(path) if folder else _digest(path)
        except OSError as error:
            text = f"unreadable: {error.strerror or printable(error, 200)}"
            raise refusal(text, file=called) from None
        for one in inputs:
            nan, infinite = count_nonfinite(one.values)
            if nan or infinite:
                text = f"{nan} NaN and {infinite} infinite numbers"
                raise refusal(text, file=called)
        return Read(inputs, digest)

    def _array(self, path: Path) -> Iterator[Array]:
        return arrays.read_array(path, self._config)

    def _picture(self, called: Path, data: bytes) -> Input:
        config = self._config
        if config.spatial_dims != 2:
            size = " x ".join(map(str, config.img_size))
            text = f"a picture; the model takes inputs of {size}"
            raise refusal(text, file=called)
        if self._plan is None:
            self._plan = make_plan(config)
        found = read_picture(called, config.in_chans, stream=io.BytesIO(data))
        return Input(prepare(found.levels, self._plan), found.notes)

    def _volume(self, path: Path) -> Input:
        config = self._config
        if config.spatial_dims != 3:
            size = " x ".join(map(str, config.img_size))
            raise refusal(f"a volume; the model takes inputs of {size}", file=path)
        if self._volume_plan is None:
            self._volume_plan = make_volume_plan(config)
        found = volume.read_volume(path, config)
        return Input(prepare_volume(found.values, self._volume_plan), found.notes)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
