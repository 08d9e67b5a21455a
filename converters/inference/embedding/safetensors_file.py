"""A shard as safetensors: the rows' paths are in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.inference.embedding.content import (
    KEY,
    Content,
    Pairs,
    UnreadableShardError,
    pairs,
)

LIBRARY = "safetensors"


def check_installed() -> None:
    """Nothing to see: safetensors is no extra."""


def write(
    path: Path,
    rows: Pairs,
    unreadable: Pairs,
    arrays: Mapping[str, NDArray[np.float32]],
) -> None:
    """Writes a file."""
    from safetensors.numpy import save_file

    said = json.dumps({"rows": rows, "unreadable": unreadable})
    # One key of metadata: safetensors writes several in any order.
    save_file(dict(arrays), path, {KEY: said})


def read(path: Path) -> Content:
    """What a file says; its tensors are not read.

    Raises:
        UnreadableShardError: If it is broken, or another's.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as opened:
            told = json.loads((opened.metadata() or {})[KEY])
            shapes = {
                key: tuple(opened.get_slice(key).get_shape())
                for key in opened.keys()  # noqa: SIM118
            }
        return Content(pairs(told["rows"]), pairs(told["unreadable"]), shapes)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableShardError(str(error)) from None
