"""Writes one model as several `.safetensors` under an index, as Hugging Face does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from converters.errors import printable, refusal
from converters.files.safetensors_file import open_as_library, write_safetensors
from converters.mapping.pipe import Array, Source, TensorInfo
from vit_config import ViTConfig

SINGLE = "model.safetensors"
INDEX = f"{SINGLE}.index.json"

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{p}B": 1000**i for i, p in enumerate(("K", "M", "G", "T"), 1)}
_UNITS |= {f"{p}IB": 1024**i for i, p in enumerate(("K", "M", "G", "T"), 1)}


def size_of(text: str | int) -> int:
    """Bytes in `"2GB"`, `"500MB"`, `"1GiB"` or a number.

    Raises:
        ConversionError: If it is no such size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", str(text).strip())
    unit = _UNITS.get(match[2].upper()) if match else None
    size = int(float(match[1]) * unit) if match and unit else 0
    if size < 1:
        raise refusal(f"size {printable(text)}: a number with MB, GB, MiB or GiB")
    return size


class _Part:
    """Some of the tensors of a source."""

    def __init__(self, source: Source, names: list[str]) -> None:
        self._source = source
        self.tensors: Mapping[str, TensorInfo] = {n: source.tensors[n] for n in names}

    def read(self, name: str) -> Array:
        return self._source.read(name)


def write_shards(
    folder: Path, source: Source, config: ViTConfig, dialect: str, most: int
) -> Path:
    """Writes all tensors, sorted by name, into as few files as may be.

    A single tensor that is larger than a file may be stands in a file of its own.

    Args:
        folder: An empty folder.
        source: The tensors.
        config: Their config, which stands in the header of each file.
        dialect: Variant of the dialect whose names the tensors have, or an empty text.
        most: Bytes of values in a file.

    Returns:
        The index; or, where one file is enough, that file, and there is no index.
    """
    groups = list(_groups(source.tensors, most))
    if len(groups) == 1:
        path = folder / SINGLE
        write_safetensors(path, source, config, dialect)
        open_as_library(path, source)
        return path
    where: dict[str, str] = {}
    for number, names in enumerate(groups, 1):
        name = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        part = _Part(source, names)
        write_safetensors(folder / name, part, config, dialect)
        open_as_library(folder / name, part)
        where |= dict.fromkeys(names, name)
    total = sum(info.nbytes for info in source.tensors.values())
    index = {
        "metadata": {"total_size": total},
        "weight_map": dict(sorted(where.items())),
    }
    path = folder / INDEX
    path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return path


def _groups(tensors: Mapping[str, TensorInfo], most: int) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for name in sorted(tensors):
        nbytes = tensors[name].nbytes
        if group and size + nbytes > most:
            yield group
            group, size = [], 0
        group.append(name)
        size += nbytes
    yield group
