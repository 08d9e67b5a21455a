"""The `.metadata` of a `torch.distributed.checkpoint`, read without running any of it.

The file is a pickle. Torch's own reader runs it; here every class and function that it
names becomes an inert holder of what it was made of, and no module is imported.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import printable, refusal

NAME = ".metadata"

_MAX_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """One part of a tensor, as one rank wrote it.

    Attributes:
        file: Name of the file it is in.
        start: Where its bytes begin there.
        length: Number of its bytes.
        offsets: Where it begins in the whole tensor, by axis.
        sizes: Its own shape.
    """

    file: str
    start: int
    length: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the checkpoint.

    Attributes:
        dtype: Torch's name of its type.
        shape: Its shape.
        chunks: Its parts.
    """

    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a checkpoint holds.

    Attributes:
        tensors: The tensors by name.
        objects: Names of what is no tensor.
        paths: The keys of the nested dicts that lead to an entry, by its name; empty
            where the checkpoint does not say them.
    """

    tensors: Mapping[str, Entry]
    objects: tuple[str, ...]
    paths: Mapping[str, tuple[str, ...]]


class _Inert:
    """Stands for an object of any class: keeps its arguments and state."""

    kind = ""

    def __init__(self, *args: Any, **fields: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def get(self, field: str) -> Any:
        """A field of the object's state, None if it has none of that name."""
        state = getattr(self, "state", None)
        return state.get(field) if isinstance(state, dict) else None


class _Size(tuple[Any, ...]):
    """Stands for `torch.Size`."""

    __slots__ = ()


@dataclass(frozen=True)
class _Named:
    """Stands for a constant of torch, for example `torch.float32`."""

    name: str


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """A holder, whatever is asked for."""
        if (module, name) == ("torch", "Size"):
            return _Size
        if module == "torch" and name.islower():
            return _Named(name)
        return type("_Inert", (_Inert,), {"kind": name})


def read_metadata(path: Path) -> Contents:
    """Reads which parts of which tensors are in which files.

    Args:
        path: The file `.metadata`.

    Raises:
        ConversionError: If it cannot be read, or is not of this format.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise refusal("larger than any such file is", file=path)
        data = path.read_bytes()
    except OSError as error:
        raise refusal(f"cannot be read: {error.strerror}", file=path) from None
    try:
        root = _Unpickler(io.BytesIO(data)).load()
    except (Exception, RecursionError) as error:  # a pickle can fail in any way
        text = f"damaged, or not torch's metadata: {printable(error, 120)}"
        raise refusal(text, file=path) from None
    try:
        return _contents(root)
    except (TypeError, ValueError) as error:
        text = f"not torch's metadata: {printable(error, 160)}"
        raise refusal(text, file=path) from None


def _contents(root: Any) -> Contents:
    if getattr(root, "kind", "") != "Metadata":
        raise TypeError("its object is not a Metadata")
    places = dict(_places(_mapping(root.get("storage_data"), "storage_data")))
    tensors, objects = {}, []
    for name, entry in _mapping(
        root.get("state_dict_metadata"), "state_dict_metadata"
    ).items():
        if not isinstance(name, str):
            raise TypeError(f"a name is {printable(repr(name))}")
        if getattr(entry, "kind", "") == "TensorStorageMetadata":
            tensors[name] = _entry(name, entry, places)
        else:
            objects.append(name)
    return Contents(tensors, tuple(objects), dict(_paths(root.get("planner_data"))))


def _mapping(value: Any, field: str) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{field} is no dict")
    return value


def _places(
    storage: Mapping[Any, Any],
) -> Iterator[tuple[tuple[str, tuple[int, ...]], tuple[str, int, int]]]:
    """File, start and length of each part, by tensor and offsets."""
    for index, place in storage.items():
        name, offsets = _get(index, "fqn"), _get(index, "offset")
        if not isinstance(name, str):
            raise TypeError("an index has no name")
        if offsets is None:
            continue  # of an object
        if _get(place, "transform_descriptors"):
            how = printable(_get(place, "transform_descriptors"), 60)
            raise ValueError(f'"{printable(name)}" is stored by an extension: {how}')
        file = _get(place, "relative_path")
        if not isinstance(file, str):
            raise TypeError(f'"{printable(name)}" has no file')
        start, length = _sizes((_get(place, "offset"), _get(place, "length")))
        yield (name, _sizes(offsets)), (file, start, length)


def _entry(
    name: str,
    entry: Any,
    places: Mapping[tuple[str, tuple[int, ...]], tuple[str, int, int]],
) -> Entry:
    state = getattr(_get(entry, "properties"), "state", None)
    kind = state[0] if isinstance(state, tuple) and state else None
    if not isinstance(kind, _Named):
        raise TypeError(f'"{printable(name)}" has no type')
    found = _get(entry, "chunks")
    if not isinstance(found, list):
        raise TypeError(f'"{printable(name)}" has no list of chunks')
    chunks = []
    for chunk in found:
        offsets, sizes = _sizes(_get(chunk, "offsets")), _sizes(_get(chunk, "sizes"))
        if (name, offsets) not in places:
            raise ValueError(f'a part of "{printable(name)}" is in no file')
        chunks.append(Chunk(*places[name, offsets], offsets, sizes))
    return Entry(kind.name, _sizes(_get(entry, "size")), tuple(chunks))


def _get(value: Any, field: str) -> Any:
    return value.get(field) if isinstance(value, _Inert) else None


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not all(type(n) is int for n in value):
        raise TypeError(f"{printable(value, 60)} is no shape")
    if any(not 0 <= n < 2**63 for n in value):
        raise ValueError(f"{printable(value, 60)} is no shape")
    return tuple(value)


def _paths(planner: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    if not isinstance(planner, dict):
        return
    for name, keys in planner.items():
        if isinstance(name, str) and isinstance(keys, tuple):
            yield name, tuple(map(str, keys))
