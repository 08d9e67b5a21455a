"""Files of embeddings: each is whole, and says itself which rows are whose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.arguments import wrong
from converters.errors import refusal
from converters.files.atomic import atomic
from converters.inference.embedding import parquet_file, safetensors_file
from converters.inference.embedding.content import Content, Pairs, UnreadableShardError

_MODULES: dict[str, ModuleType] = {
    "safetensors": safetensors_file,
    "parquet": parquet_file,
}
FILE_FORMATS = tuple(_MODULES)


@dataclass(frozen=True, slots=True)
class Shard:
    """What a file of embeddings says of its rows.

    Attributes:
        name: Of the file.
        rows: Path and SHA-256 of the file that each row is of.
        unreadable: Path and reason of the files without a row.
    """

    name: str
    rows: Pairs
    unreadable: Pairs


def check_file_format(value: Any) -> None:
    """Takes a kind of file that can be written.

    Raises:
        ConversionError: If it is none.
        MissingExtraError: If the library that writes it is not installed.
    """
    if not isinstance(value, str) or value not in _MODULES:
        raise wrong("format", value, " or ".join(map(repr, FILE_FORMATS)))
    _MODULES[value].check_installed()


def library_of(file_format: str) -> str:
    """The library on whose version the bytes of a shard depend."""
    library: str = _MODULES[file_format].LIBRARY
    return library


def shard_name(index: int, count: int, file_format: str) -> str:
    """`embeddings-00001-of-00012.safetensors`."""
    return f"embeddings-{index + 1:05d}-of-{count:05d}.{file_format}"


def write_shard(
    folder: Path, shard: Shard, arrays: Mapping[str, NDArray[np.float32]]
) -> None:
    """Writes a shard; it is there whole, or not at all.

    Args:
        folder: Where to.
        shard: What it says; the end of its name is its format.
        arrays: Its tensors; the first axis is that of the rows.
    """
    module = _module(shard.name)
    with atomic(folder / shard.name, force=False) as path:
        module.write(path, shard.rows, shard.unreadable, arrays)


def read_shard(
    folder: Path, name: str, shapes: Mapping[str, tuple[int, ...]], files: list[str]
) -> Shard:
    """What a shard that is there says; its tensors are not read.

    Args:
        folder: Where it is.
        name: Its name.
        shapes: The tensors that it should have, each without the axis of the rows.
        files: The paths that it should be of.

    Raises:
        ConversionError: If it is another one, or broken.
    """
    path = folder / name
    hint = "Remove it; it will be made again."
    try:
        content: Content = _module(name).read(path)
    except UnreadableShardError as error:
        text = f"not a shard that embed wrote: {error}"
        raise refusal(text, file=path, hint=hint) from None
    expected = {key: (len(content.rows), *shape) for key, shape in shapes.items()}
    if content.shapes != expected:
        text = f"tensors {content.shapes}; expected {expected}"
        raise refusal(text, file=path, hint=hint)
    if sorted(pair[0] for pair in content.rows + content.unreadable) != sorted(files):
        raise refusal("rows of other files", file=path, hint=hint)
    return Shard(name, content.rows, content.unreadable)


def _module(name: str) -> ModuleType:
    return _MODULES[name.rpartition(".")[2]]
