"""`.npz` files of Flax models: zip archives of `.npy`, read without pickle.

Arrays are read one at a time, straight from the archive. big_vision stores bfloat16 as
two plain bytes (`V2`), because numpy has no such type, and says so in its own loader
(`recover_dtype`): two bytes without a type are bfloat16 here, too.

A model trained with `nn.scan` has one array for all its blocks, the blocks along the
first axis, below `encoderblock`; each block is served as if it stood there alone, below
`encoderblock_0` and so on.
"""

from __future__ import annotations

import ast
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy

from converters.errors import ConversionError, printable, refusal
from converters.files.base import check_input
from converters.files.safetensors_file import MAX_RANK, MAX_TENSORS, name_problem
from converters.mapping.pipe import Array, TensorInfo, np_dtype

SCAN, BLOCK = "/encoderblock/", "/encoderblock_{}/"

_MAX_HEADER = 4096
_BOMB_RATIO = 100
_BOMB_BYTES = 16 << 20
_MAX_BLOCKS = 1000
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Member:
    """One array of the archive.

    Attributes:
        info: Its entry.
        start: Length of what stands before the values.
        dtype: numpy's type of the values.
        fortran: Whether the first axis runs fastest.
        shape: Its shape.
    """

    info: zipfile.ZipInfo
    start: int
    dtype: np.dtype[Any]
    fortran: bool
    shape: tuple[int, ...]

    @property
    def kind(self) -> str:
        """Name of the type, as a `TensorInfo` has it."""
        return "bfloat16" if self.dtype.kind == "V" else str(self.dtype)

    @property
    def nbytes(self) -> int:
        """Size of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


class NpzFile:
    """The arrays of an `.npz`, those of scanned blocks one by one.

    Args:
        path: The file.

    Raises:
        ConversionError: If it is no such file, or holds what is not an array of
            numbers.
    """

    format = "npz"

    def __init__(self, path: Path) -> None:
        self.path = path
        check_input(path, "npz")
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            text = f"cut short or broken: {printable(error, 120)}"
            raise refusal(text, file=path) from None
        try:
            self._open()
        except BaseException:
            self._archive.close()
            raise

    def _open(self) -> None:
        infos = self._archive.infolist()
        if not infos:
            raise refusal("there are no arrays in it", file=self.path)
        if len(infos) > MAX_TENSORS:
            raise refusal(f"{len(infos)} arrays; too many", file=self.path)
        self._members: dict[str, _Member] = {}
        for info in infos:
            name = info.filename.removesuffix(".npy")
            if name in self._members:
                raise self._refused(name, "stands twice")
            self._members[name] = self._member(name, info)
        self._intact: set[str] = set()
        self._places: dict[str, tuple[str, int | None]] = {}
        tensors: dict[str, TensorInfo] = {}
        for name, member in self._members.items():
            for served, index, shape in _blocks(name, member.shape):
                if served in tensors:
                    raise self._refused(served, "stands there scanned and alone")
                tensors[served] = TensorInfo(member.kind, shape)
                self._places[served] = name, index
        self.tensors: Mapping[str, TensorInfo] = tensors

    def _member(self, name: str, info: zipfile.ZipInfo) -> _Member:
        """Checks an entry and reads its header, not its values."""
        problem = name_problem(name)
        if not info.filename.endswith(".npy"):
            problem = "no .npy; numpy puts nothing else into an .npz"
        elif name.startswith("/") or ".." in name.split("/") or "\\" in name:
            problem = "a path"
        elif info.flag_bits & 1:
            problem = "encrypted"
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problem = "compressed in a way that numpy does not know"
        elif info.file_size > _BOMB_RATIO * max(info.compress_size, 1) and (
            info.file_size > _BOMB_BYTES
        ):
            problem = (
                f"{info.compress_size} bytes that announce {info.file_size}: a bomb? "
                "If not, save it with numpy.savez, which does not compress"
            )
        if problem:
            raise self._refused(name, problem)
        try:
            with self._archive.open(info) as file:
                member = _header(file, info)
        except ValueError as error:
            raise self._refused(name, f"no array: {printable(error, 120)}") from None
        except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
            raise self._damaged(name, error) from None
        problem = _problem(member)
        if problem:
            raise self._refused(name, problem)
        return member

    def read(self, name: str) -> Array:
        """The values of one array, or of one block of it, in C order."""
        key, index = self._places[name]
        member = self._members[key]
        parts = member.shape[0] if index is not None and not member.fortran else 1
        size = member.nbytes // max(parts, 1)
        raw = np.empty(size, np.uint8)
        try:
            if parts > 1:
                self._check(key, member)  # only whole entries have a checksum
            with self._archive.open(member.info) as file:
                if parts > 1:
                    file.seek(member.start + (index or 0) * size)
                else:  # a seek turns off zipfile's comparison (Python 3.12)
                    file.read(member.start)
                _fill(file, raw)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise self._damaged(key, error) from None
        shape = member.shape[1:] if parts > 1 else member.shape
        array = raw.view(member.dtype).reshape(
            shape, order="F" if member.fortran else "C"
        )
        if index is not None and parts == 1:
            array = array[index]
        if member.dtype.byteorder == ">":
            array = array.astype(member.dtype.newbyteorder("<"))
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        return array.view(np_dtype("bfloat16")) if member.kind == "bfloat16" else array

    def _check(self, key: str, member: _Member) -> None:
        """Reads an entry once as a whole; zipfile compares the checksum at its end."""
        if key not in self._intact:
            with self._archive.open(member.info) as file:
                while file.read(_CHUNK):
                    pass
            self._intact.add(key)

    def close(self) -> None:
        """Lets the file go."""
        self._archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _refused(self, name: str, problem: str) -> ConversionError:
        return refusal(f'"{printable(name)}": {problem}', file=self.path)

    def _damaged(self, name: str, error: Exception) -> ConversionError:
        return self._refused(name, f"damaged: {printable(error, 120)}")


def _header(file: Any, info: zipfile.ZipInfo) -> _Member:
    """Reads the header of an `.npy`, which is a literal, and evaluates nothing else."""
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version} of the format")
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(file.read(width), "little")
    if length > _MAX_HEADER:
        raise ValueError(f"a header of {length} bytes")
    data = file.read(length)
    if len(data) != length:
        raise ValueError("cut short")
    try:
        header = ast.literal_eval(
            data.decode("utf-8" if version == (3, 0) else "latin1")
        )
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"header: {error}") from None
    if not isinstance(header, dict) or set(header) != {
        "descr",
        "fortran_order",
        "shape",
    }:
        raise ValueError("another header")
    shape, fortran, descr = header["shape"], header["fortran_order"], header["descr"]
    if (
        not isinstance(descr, str)
        or not isinstance(fortran, bool)
        or not isinstance(shape, tuple)
        or not all(isinstance(n, int) and not isinstance(n, bool) for n in shape)
        or any(n < 0 for n in shape)
    ):
        raise ValueError(f"{printable(header, 80)}: no array of numbers")
    start = 8 + width + length
    return _Member(info, start, np.dtype(descr), fortran, shape)


def _problem(member: _Member) -> str:
    """Why an entry is no array of numbers, or an empty text."""
    dtype = member.dtype
    if dtype.hasobject:
        return "pickled objects, which are never read"
    if dtype.kind not in "fiub" and dtype != np.dtype("V2"):
        return f"of type {printable(dtype)}"
    if len(member.shape) > MAX_RANK:
        return f"{len(member.shape)} axes; at most {MAX_RANK} are read"
    held = member.info.file_size - member.start
    if held != member.nbytes:
        return f"announces {member.nbytes} bytes and has {held}"
    return ""


def _fill(file: Any, raw: Array) -> None:
    view = raw.data
    done = 0
    while done < len(view):
        count = file.readinto(view[done : done + _CHUNK])
        if not count:
            raise EOFError("it ends too early")
        done += count


def _blocks(
    name: str, shape: tuple[int, ...]
) -> list[tuple[str, int | None, tuple[int, ...]]]:
    """Names, places along the first axis and shapes under which an array is served."""
    head, mark, tail = f"/{name}".partition(SCAN)
    if not mark or not shape or not 0 < shape[0] <= _MAX_BLOCKS:
        return [(name, None, shape)]
    start = head.removeprefix("/")
    return [(f"{start}{BLOCK.format(i)}{tail}", i, shape[1:]) for i in range(shape[0])]
