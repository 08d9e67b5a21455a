"""`.msgpack` of Flax (`flax.serialization`): nested maps with arrays at their ends.

The package `msgpack` (extra `flax`) reads the maps; Flax itself is not needed. The
format has neither an index nor checksums, so that a file is read as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from converters.errors import ConversionError, printable, refusal
from converters.extras import optional
from converters.files.base import check_input
from converters.files.checkpoint import is_training
from converters.files.contents import OtherContents
from converters.files.safetensors_file import MAX_RANK, MAX_TENSORS, name_problem
from converters.mapping.pipe import Array, TensorInfo, np_dtype

_ARRAY, _SCALAR = 1, 3  # Flax's codes of msgpack extensions
_STATE = "opt_state"  # of a TrainState, beside "params"
_CHUNKED = "__msgpack_chunked_array__"
_NO_CHECKSUMS = "none: Flax's msgpack has none"
_MAX_DEPTH = 64


@dataclass(frozen=True)
class _Leaf:
    """One array, or one of the chunks of a large one.

    Attributes:
        dtype: Its type.
        shape: Its shape.
        data: Its bytes in C order.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def values(self) -> Array:
        """The array."""
        flat = np.frombuffer(self.data, np_dtype(self.dtype))
        return flat.reshape(self.shape).copy()  # bytes cannot be written to


class MsgpackFile:
    """The arrays of such a file, their keys joined by slashes.

    Args:
        path: The file.

    Attributes:
        others: What is in it beside the arrays of the model.

    Raises:
        ConversionError: If it is no such file.
        MissingExtraError: If msgpack is not installed.
    """

    format = "msgpack"

    def __init__(self, path: Path) -> None:
        self.path = path
        check_input(path, "msgpack")
        aside: dict[str, str] = {}
        self._leaves: dict[str, list[_Leaf]] = {}
        self.tensors: Mapping[str, TensorInfo] = {}
        tensors: dict[str, TensorInfo] = {}
        try:
            for name, shape, leaves in _arrays(_tree(path), aside):
                dtype = leaves[0].dtype
                problem = name_problem(name) or _problem(shape, leaves)
                if name in tensors:
                    problem = "its name stands twice"
                if problem:
                    raise refusal(f'"{printable(name)}": {problem}', file=path)
                self._leaves[name] = leaves
                tensors[name] = TensorInfo(dtype, shape)
        except ConversionError:
            raise
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            text = f"damaged, or not Flax's: {printable(error, 120)}"
            raise refusal(text, file=path) from None
        if not tensors:
            raise refusal("there are no arrays of a model in it", file=path)
        if len(tensors) > MAX_TENSORS:
            raise refusal(f"{len(tensors)} arrays; too many", file=path)
        self.tensors = tensors
        self.others = OtherContents(aside, unchecked=_NO_CHECKSUMS)

    def read(self, name: str) -> Array:
        """The values of one array."""
        leaves = self._leaves[name]
        if len(leaves) == 1:
            return leaves[0].values().reshape(self.tensors[name].shape)
        whole = np.concatenate([leaf.values().reshape(-1) for leaf in leaves])
        return whole.reshape(self.tensors[name].shape)

    def close(self) -> None:
        """Lets the arrays go."""
        self._leaves = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _tree(path: Path) -> Any:
    """The nested maps of a file."""
    msgpack: Any = optional("msgpack", "flax")
    with path.open("rb") as file:
        unpacker = msgpack.Unpacker(
            file, ext_hook=_extension, strict_map_key=True, max_buffer_size=0
        )
        try:
            tree = unpacker.unpack()
            more = unpacker.tell() != path.stat().st_size
        except msgpack.OutOfData:
            raise refusal("cut short", file=path) from None
        except msgpack.exceptions.UnpackException as error:
            text = f"damaged, or not Flax's: {printable(repr(error), 120)}"
            raise refusal(text, file=path) from None
    if more:
        raise refusal("there is more behind the last array", file=path)
    return tree


def _extension(code: int, data: bytes) -> Any:
    """An array as it lies in the file; any other extension by its code."""
    if code not in (_ARRAY, _SCALAR):
        return f"extension {code}"
    msgpack: Any = optional("msgpack", "flax")
    shape, dtype, values = msgpack.unpackb(data)
    if not isinstance(dtype, str) or not isinstance(values, bytes):
        raise ValueError("an array without type or values")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"an array of shape {printable(shape, 60)}")
    leaf = _Leaf(dtype, tuple(shape), values)
    return leaf if code == _ARRAY else leaf.values()[()]


def _arrays(
    tree: Any, aside: dict[str, str]
) -> Iterator[tuple[str, tuple[int, ...], list[_Leaf]]]:
    """Name, shape and parts of every array; what is none goes to `aside`."""
    if not isinstance(tree, dict):
        raise ValueError(f"a {type(tree).__name__}, not a map")
    stack: list[tuple[tuple[str, ...], Any]] = [((), tree)]
    while stack:
        path, level = stack.pop()
        if len(path) > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        for key, item in level.items():
            if not isinstance(key, str):
                raise ValueError(f"a key is {printable(repr(key), 60)}")
            name = "/".join((*path, key))
            if key == _STATE or is_training(key):
                aside[name] = "map" if isinstance(item, dict) else type(item).__name__
            elif isinstance(item, _Leaf):
                yield name, item.shape, [item]
            elif isinstance(item, dict) and _CHUNKED in item:
                yield name, _listed(item["shape"]), list(_listed(item["chunks"]))
            elif isinstance(item, dict):
                stack.append(((*path, key), item))
            else:
                aside[name] = type(item).__name__


def _listed(numbered: Mapping[str, Any]) -> tuple[Any, ...]:
    """`{"0": 3, "1": 4}` -> `(3, 4)`."""
    return tuple(numbered[str(index)] for index in range(len(numbered)))


def _problem(shape: tuple[int, ...], leaves: list[_Leaf]) -> str:
    """Why these are not the values of an array, or an empty text."""
    kinds = {leaf.dtype for leaf in leaves}
    if len(kinds) != 1:
        return "parts of several types"
    if len(shape) > MAX_RANK:
        return f"{len(shape)} axes; at most {MAX_RANK} are read"
    try:
        kind = np_dtype(leaves[0].dtype)
    except TypeError:
        return f"of type {printable(leaves[0].dtype)}"
    if kind.hasobject or kind.kind not in "fiubV":
        return f"of type {printable(leaves[0].dtype)}"
    wanted = [math.prod(leaf.shape) * kind.itemsize for leaf in leaves]
    if [len(leaf.data) for leaf in leaves] != wanted:
        return "its bytes are not those of its shape"
    held = sum(math.prod(leaf.shape) for leaf in leaves)
    if held != math.prod(shape):
        return f"parts of {held} values for shape {shape}"
    return ""
