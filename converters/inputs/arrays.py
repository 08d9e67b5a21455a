"""Arrays of a user's `.npy` and `.npz` files, one input in memory at a time.

Nothing in them is ever unpickled. They are taken as already preprocessed.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from converters.errors import printable, refusal
from vit_config import ViTConfig

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError)


def read_array(path: Path, config: ViTConfig) -> Iterator[NDArray[np.float32]]:
    """Inputs (C, *spatial) of one file.

    Args:
        path: A `.npy`, or a `.npz` with one array; (C, *spatial) or (B, C, *spatial).
        config: Of the model.

    Raises:
        ConversionError: If the file is broken, or holds something else.
    """
    with _opened(path) as stream:
        try:
            count, dtype = _header(stream, path, config)
            shape = (config.in_chans, *config.img_size)
            size = math.prod(shape) * dtype.itemsize
            for row in range(count):
                data = stream.read(size)
                if len(data) != size:
                    raise refusal(f"truncated: input {row} of {count} ends", file=path)
                values = np.frombuffer(data, dtype).reshape(shape)
                # Not `yield` in here: the error state would be the caller's, too.
                with np.errstate(over="ignore"):  # the caller refuses infinities
                    narrowed = values.astype(np.float32)
                yield narrowed
        except BROKEN as error:
            raise refusal(f"broken: {error}", file=path) from None


def count_arrays(path: Path, config: ViTConfig) -> int:
    """How many inputs a file has, by its header alone.

    Raises:
        ConversionError: As `read_array`.
    """
    with _opened(path) as stream:
        return _header(stream, path, config)[0]


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            yield stream
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise refusal(f"not a .npz file: {error}", file=path) from None
    with archive:
        names = archive.namelist()
        if len(names) != 1:
            found = ", ".join(
                printable(name.removesuffix(".npy")) for name in names[:9]
            )
            raise refusal(
                f"{len(names)} arrays ({found}); one is expected, the inputs",
                file=path,
            )
        try:
            member = archive.open(names[0])
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise refusal(f"broken: {error}", file=path) from None
        with member:
            yield member


def _header(
    stream: IO[bytes], path: Path, config: ViTConfig
) -> tuple[int, np.dtype[Any]]:
    """Number of inputs and type, once both fit the model."""
    try:
        version = npy.read_magic(stream)
        read = {
            (1, 0): npy.read_array_header_1_0,
            (2, 0): npy.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"version {version}")
        shape, fortran, dtype = read(stream)
    except BROKEN as error:
        raise refusal(f"broken: {error}", file=path) from None
    except ValueError as error:
        message = printable(error, 200)
        raise refusal(f"not a NumPy array: {message}", file=path) from None
    if dtype.kind not in "fiu":
        raise refusal(
            f"numbers of type {dtype}; expected floats or integers", file=path
        )
    one = (config.in_chans, *config.img_size)
    if shape[-len(one) :] != one or len(shape) > len(one) + 1:
        raise refusal(_other_shape(shape, one), file=path)
    count = shape[0] if len(shape) > len(one) else 1
    if not count:
        raise refusal(f"an array {shape} without any input", file=path)
    if fortran and len(shape) > 1:
        raise refusal(
            "stored in Fortran order, which cannot be read piece by piece; save "
            "numpy.ascontiguousarray(x) instead",
            file=path,
        )
    return count, dtype


def _other_shape(shape: tuple[int, ...], one: tuple[int, ...]) -> str:
    text = f"an array {shape}; expected {one} or (B, {', '.join(map(str, one))})"
    last = shape[-len(one) :]
    if last == (*one[1:], one[0]):
        return f"{text}: channels come first"
    if last in set(permutations(one)):
        return f"{text}: the axes are in another order"
    return text
