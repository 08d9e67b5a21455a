"""Named arrays in an `.npz`, written one after the other as they come."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_AXES = "|axes"
_POLL_S = 0.05


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
