"""Files of embeddings: each is whole, and says itself which rows are whose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.errors import refusal
from converters.files.atomic import atomic

KEY = "vit_duet_embed"
"""The one key of a shard's metadata: safetensors writes several in any order."""


@dataclass(frozen=True, slots=True)
class Shard:
    """What a file of embeddings says of its rows.

    Attributes:
        name: Of the file.
        rows: Path and SHA-256 of the file that each row is of.
        unreadable: Path and reason of the files without a row.
    """

    name: str
    rows: tuple[tuple[str, str], ...]
    unreadable: tuple[tuple[str, str], ...]


def shard_name(index: int, count: int) -> str:
    """`embeddings-00001-of-00012.safetensors`."""
    return f"embeddings-{index + 1:05d}-of-{count:05d}.safetensors"


def write_shard(
    folder: Path, shard: Shard, arrays: Mapping[str, NDArray[np.float32]]
) -> None:
    """Writes a shard; it is there whole, or not at all.

    Args:
        folder: Where to.
        shard: What it says.
        arrays: Its tensors; the first axis is that of the rows.
    """
    from safetensors.numpy import save_file

    said = json.dumps({"rows": shard.rows, "unreadable": shard.unreadable})
    with atomic(folder / shard.name, force=False) as path:
        save_file(dict(arrays), path, {KEY: said})


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
    from safetensors import SafetensorError, safe_open

    path = folder / name
    hint = "Remove it; it will be made again."
    try:
        with safe_open(path, "numpy") as opened:
            told = json.loads((opened.metadata() or {})[KEY])
            found = {
                key: tuple(opened.get_slice(key).get_shape())
                for key in opened.keys()  # noqa: SIM118
            }
        shard = Shard(name, _pairs(told["rows"]), _pairs(told["unreadable"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        text = f"not a shard that embed wrote: {error}"
        raise refusal(text, file=path, hint=hint) from None
    expected = {key: (len(shard.rows), *shape) for key, shape in shapes.items()}
    if found != expected:
        text = f"tensors {found}; expected {expected}"
        raise refusal(text, file=path, hint=hint)
    if sorted(pair[0] for pair in shard.rows + shard.unreadable) != sorted(files):
        raise refusal("rows of other files", file=path, hint=hint)
    return shard


def _pairs(found: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(path), str(said)) for path, said in found)
