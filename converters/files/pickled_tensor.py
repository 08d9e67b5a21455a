"""What a pickle says of a tensor or array: where its values are, and how they lie."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from converters.errors import printable, refusal
from converters.files.safetensors_file import MAX_RANK
from converters.files.zip_archive import Extent
from converters.mapping.pipe import Array, TensorInfo, np_dtype

STORAGES = {
    # torch's class of a storage: type and size of a value
    "DoubleStorage": ("float64", 8),
    "FloatStorage": ("float32", 4),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
    "ComplexDoubleStorage": ("complex128", 16),
    "ComplexFloatStorage": ("complex64", 8),
    "QInt8Storage": ("qint8", 1),
    "QUInt8Storage": ("quint8", 1),
    "QInt32Storage": ("qint32", 4),
    "UntypedStorage": ("uint8", 1),
}
SIZES = dict(STORAGES.values()) | {
    **{"uint16": 2, "uint32": 4, "uint64": 8, "complex32": 4},
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"), 1),
    **dict.fromkeys(("float8_e4m3fnuz", "float8_e5m2fnuz"), 1),
}
"""Bytes of a value by type."""

_NUMPY_KINDS = "fiub"


@dataclass(eq=False)
class Storage:
    """Bytes that tensors are views of.

    Attributes:
        dtype: Type of the values, as its class says.
        nbytes: Number of bytes.
        extent: Where they are; None until it is known.
        root: The storage of which this is a part, or None.
        start: Its first byte there.
        swapped: Whether the most significant byte of a value comes first.
    """

    dtype: str
    nbytes: int
    extent: Extent | None = None
    root: Storage | None = None
    start: int = 0
    swapped: bool = False

    def __setstate__(self, state: Any) -> NoReturn:
        raise pickle.UnpicklingError("a storage is no object to be built")

    def place(self) -> tuple[Extent | None, int]:
        """Where the bytes are, and the first of them there."""
        return (self.extent if self.root is None else self.root.extent), self.start


@dataclass(eq=False)
class PickledTensor:
    """A tensor of which the values were not read yet.

    Attributes:
        dtype: Name of the type of its values.
        shape: Its shape.
        stride: Values between two neighbours along each axis.
        offset: Values before the first one.
        storage: The bytes.
        swapped: Whether the most significant byte comes first.
        problem: Why it is not just its values, or an empty text.
    """

    dtype: str = ""
    shape: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    offset: int = 0
    storage: Storage | None = None
    swapped: bool = False
    problem: str = ""

    def __setstate__(self, state: Any) -> None:
        """Attributes that somebody gave the tensor; they are no values."""

    @property
    def info(self) -> TensorInfo:
        """Type and shape."""
        return TensorInfo(self.dtype, self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def is_weight(self) -> bool:
        """Whether it may be a weight: floating-point numbers along an axis."""
        return "float" in self.dtype and bool(self.shape)

    def refused(self) -> str:
        """Why it is not just its values, or an empty text."""
        if self.problem:
            return self.problem
        if self.dtype.startswith("complex"):
            return "a complex tensor"
        if self.dtype.startswith(("qint", "quint")):
            return "a quantised tensor; dequantise it first"
        if self.dtype not in SIZES or self.storage is None:
            return f"a tensor of type {printable(self.dtype, 40)}"
        if len(self.shape) > MAX_RANK:
            return f"{len(self.shape)} axes; at most {MAX_RANK} are read"
        sides = list(zip(self.shape, self.stride, strict=True))
        if any(length > 1 and step == 0 for length, step in sides):
            return "an expanded tensor: its values are not all in the file"
        if self.offset < 0 or any(step < 0 for step in self.stride):
            return "values before the first one"
        if self._span() > self.storage.nbytes:
            return "larger than its storage"
        return ""

    def _span(self) -> int:
        """Bytes from the start of the storage to behind the last value."""
        if not self.size:
            return 0
        sides = zip(self.shape, self.stride, strict=True)
        last = self.offset + sum((length - 1) * step for length, step in sides)
        return (last + 1) * SIZES[self.dtype]

    def read(self, path: Path) -> Array:
        """The values, C-contiguous, little-endian.

        Raises:
            ConversionError: If they are damaged.
        """
        extent, start = self.storage.place() if self.storage else (None, 0)
        if extent is None:
            raise refusal("its values are not in the file", file=path)
        width = SIZES[self.dtype]
        first = self.offset * width
        raw = np.empty(max(self._span() - first, 0), np.uint8)
        if raw.size:
            extent.read_into(raw, start + first)
        kind = np_dtype(self.dtype)
        flat = raw.view(kind)
        if self.stride != contiguous(self.shape) and self.size:
            steps = tuple(step * width for step in self.stride)
            flat = np.lib.stride_tricks.as_strided(flat, self.shape, steps)
        array = np.ascontiguousarray(flat).reshape(self.shape)
        return array.byteswap() if self.swapped and width > 1 else array


@dataclass(eq=False)
class PickledArray(PickledTensor):
    """An array of NumPy, of which a pickle has the values itself."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        self.fill(shape, kind, fortran, data)

    def fill(self, shape: Any, kind: Any, fortran: bool, data: Any) -> None:
        """Takes what a pickle says of an array."""
        self.shape = numbers(shape)
        self.stride = contiguous(self.shape[::-1])[::-1] if fortran else ()
        self.stride = self.stride or contiguous(self.shape)
        if not isinstance(kind, NumpyType) or not kind.name:
            name = kind.text if isinstance(kind, NumpyType) else "an unknown kind"
            self.dtype, self.problem = "object", f"an array of {printable(name, 40)}"
            return
        if isinstance(data, str):
            data = data.encode("latin1")
        self.dtype, self.swapped = kind.name, kind.swapped
        self.storage = Storage(kind.name, len(data), in_memory(bytes(data)))


@dataclass(eq=False)
class NumpyType:
    """A type of NumPy.

    Attributes:
        text: As NumPy writes it, `"f4"`.
        swapped: Whether the most significant byte comes first.
    """

    text: str
    swapped: bool = False
    _more: list[Any] = field(default_factory=list)

    def __setstate__(self, state: Any) -> None:
        self.swapped = state[1] == ">"

    @property
    def name(self) -> str:
        """Name of the type, or an empty text if its values are no numbers."""
        if self.text == "bfloat16":
            return self.text
        try:
            kind = np.dtype(self.text)
        except (TypeError, ValueError):
            return ""
        return kind.name if kind.kind in _NUMPY_KINDS and kind.name in SIZES else ""


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of values that lie one after the other, the last axis first."""
    steps = [1]
    for length in shape[:0:-1]:
        steps.append(steps[-1] * max(length, 1))
    return tuple(reversed(steps))[: len(shape)] if shape else ()


def in_memory(data: bytes) -> Extent:
    """Bytes that the pickle itself has."""
    return Extent(BytesIO(data), 0, len(data), what="an array", path=Path())


def numbers(values: Any) -> tuple[int, ...]:
    """A shape out of a pickle.

    Raises:
        UnpicklingError: If it is none.
    """
    found = tuple(values)
    if not all(type(n) is int for n in found) or any(n < 0 for n in found):
        raise pickle.UnpicklingError("a shape that is no numbers")
    return found
