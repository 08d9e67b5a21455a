"""Distributed checkpoints of several ranks, in the files that torch itself writes."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

Key = tuple[str, ...]


def save_in_parts(
    path: Path,
    values: dict[Key, Any],
    ranks: int = 3,
    axes: dict[str, int] | None = None,
) -> None:
    """Saves as so many ranks would, each tensor cut along one of its axes.

    Args:
        path: The folder to make.
        values: Tensors and other objects by the keys that lead to them.
        ranks: Number of ranks, each with a file of its own.
        axes: Axis to cut a tensor along, by its name; 0 for all others.
    """
    path.mkdir()
    streams = [io.BytesIO() for _ in range(ranks)]
    entries: dict[str, Any] = {}
    places: dict[MetadataIndex, _StorageInfo] = {}
    for keys, value in values.items():
        name = ".".join(keys)
        if not isinstance(value, torch.Tensor):
            entries[name] = BytesStorageMetadata()
            index = MetadataIndex(name)
            places[index] = _written(streams[0], 0, value)
            continue
        axis = (axes or {}).get(name, 0)
        chunks = []
        for rank, (offsets, part) in enumerate(_cut(value, axis, ranks)):
            size = torch.Size(part.shape)
            chunks.append(ChunkStorageMetadata(torch.Size(offsets), size))
            index = MetadataIndex(name, offsets, len(chunks) - 1)
            places[index] = _written(streams[rank], rank, part)
        entries[name] = TensorStorageMetadata(
            TensorProperties(value.dtype), value.shape, chunks
        )
    for rank, stream in enumerate(streams):
        (path / f"__{rank}_0.distcp").write_bytes(stream.getvalue())
    paths = {".".join(keys): keys for keys in values}
    metadata = Metadata(entries, paths, places)
    (path / ".metadata").write_bytes(pickle.dumps(metadata))


def _written(stream: io.BytesIO, rank: int, value: Any) -> _StorageInfo:
    start = stream.tell()
    torch.save(value, stream)
    return _StorageInfo(f"__{rank}_0.distcp", start, stream.tell() - start)


def _cut(value: torch.Tensor, axis: int, ranks: int) -> list[tuple[list[int], Any]]:
    """Rows as torch.chunk hands them out: the last rank gets fewer, or none."""
    if value.dim() == 0:
        return [([], value)]
    length = -(-value.shape[axis] // ranks)
    parts = []
    for start in range(0, value.shape[axis], length):
        offsets = [0] * value.dim()
        offsets[axis] = start
        part = value.narrow(axis, start, min(length, value.shape[axis] - start))
        parts.append((offsets, part.clone()))
    return parts


def as_tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Arrays as tensors of torch."""
    return {name: torch.tensor(values) for name, values in arrays.items()}
