"""Named arrays in an `.npz`, written one after the other as they come."""

from __future__ import annotations

import time
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_AXES = "|axes"
_POLL_S = 0.05

KEPT = 2**27
"""Bytes of an archive that are kept in memory, about."""


class Archive:
    """An `.npz` in the making; has its name only when it is complete.

    Types smaller than float32 are widened, which is exact: numpy's own form of
    bfloat16 could not be read back.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._zip = zipfile.ZipFile(self._part, "w", zipfile.ZIP_STORED)

    def add(self, name: str, array: Array) -> None:
        """Writes one array."""
        array = widened(array)
        with self._zip.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)

    def add_as_laid(self, name: str, array: Array) -> None:
        """Writes one array so that `as_laid` gives it the same order in memory.

        The sum over the tokens depends on it, and torch's tokens may lie as the patch
        convolution left them, channels first.
        """
        axes = np.argsort([-stride for stride in array.strides], kind="stable")
        self.add(name, array.transpose(axes))
        if (axes != np.arange(array.ndim)).any():
            self.add(f"{name}{_AXES}", axes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink()


class Arrays(Mapping[str, Array]):
    """The arrays of an `.npz`, read when asked for; the last ones are kept.

    A verification asks for the same array several times, and a reference is asked for
    by every candidate.

    Args:
        path: The file.
        kept: Bytes that may be kept.
    """

    def __init__(self, path: Path, kept: int = KEPT) -> None:
        self._file = np.load(path, allow_pickle=False)
        self._room = kept
        self._kept: OrderedDict[str, Array] = OrderedDict()

    def __getitem__(self, name: str) -> Array:
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        found: Array = self._file[name]
        found.flags.writeable = False
        if found.nbytes <= self._room:
            self._kept[name] = found
            while sum(array.nbytes for array in self._kept.values()) > self._room:
                self._kept.popitem(last=False)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._file

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.files)

    def __len__(self) -> int:
        return len(self._file.files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._kept.clear()
        self._file.close()


def widened(array: Array) -> Array:
    """The same values, in float32 if the type is a smaller one."""
    if array.dtype.kind in "iub" or array.dtype.itemsize >= 4:
        return array
    return array.astype(np.float32)  # keeps the order in memory


def as_laid(archive: Mapping[str, Array], name: str) -> Array:
    """An array that `Archive.add_as_laid` wrote."""
    array = archive[name]
    if f"{name}{_AXES}" not in archive:
        return array
    return array.transpose(np.argsort(archive[f"{name}{_AXES}"]))


def await_file(path: Path, limit_s: float) -> Path:
    """Waits for a file that another process is about to complete.

    Raises:
        TimeoutError: If it is not there in time.
    """
    end = time.monotonic() + limit_s
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path.name} was not there after {limit_s:g} s")
        time.sleep(_POLL_S)
    return path
