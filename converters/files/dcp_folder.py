"""Folders of `torch.distributed.checkpoint`: tensors in parts, put together on reading.

Every rank writes its own `.distcp` files, a sequence of items; `.metadata` says which
part of which tensor each item is. One tensor is in memory at a time.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import numpy as np

from converters.errors import ConversionError, Issue, printable, refusal
from converters.files.checkpoint import is_training
from converters.files.contents import OtherContents
from converters.files.dcp_metadata import NAME, Chunk, Contents, Entry, read_metadata
from converters.files.safetensors_file import MAX_RANK, MAX_TENSORS, name_problem
from converters.files.sharded_file import shard_in
from converters.files.torch_file import load_tensor
from converters.mapping.pipe import Array, TensorInfo, np_dtype

SUFFIX = ".distcp"


class DcpFolder:
    """The tensors of a distributed checkpoint, those of the training left aside.

    Args:
        path: The folder.

    Attributes:
        others: What is left aside.

    Raises:
        ConversionError: If a part of a tensor is missing, or the folder is not what its
            `.metadata` says.
    """

    format = "distcp"

    def __init__(self, path: Path) -> None:
        self.path = path
        contents = read_metadata(path / NAME)
        entries = {
            name: entry
            for name, entry in contents.tensors.items()
            if not _of_training(name, contents)
        }
        if not entries:
            count = len(contents.tensors)
            raise refusal(
                f"no weights of a model in it: {count} tensors, all of the training"
                if count
                else "there are no tensors in it",
                file=path,
            )
        if len(entries) > MAX_TENSORS:
            raise refusal(f"{len(entries)} tensors; too many", file=path)
        issues = [
            issue for name, entry in entries.items() for issue in _odd(name, entry)
        ]
        if issues:
            raise ConversionError(issues, file=path)
        self.others = OtherContents(_aside(contents, entries))
        self._files = dict(_files(path, entries))
        self._entries = entries
        self.tensors: Mapping[str, TensorInfo] = {
            name: TensorInfo(entry.dtype, entry.shape)
            for name, entry in entries.items()
        }

    def read(self, name: str) -> Array:
        """The values of one tensor."""
        entry = self._entries[name]
        if len(entry.chunks) == 1:
            return self._part(name, entry, entry.chunks[0])
        whole = np.empty(entry.shape, np_dtype(entry.dtype))
        for chunk in entry.chunks:
            place = tuple(
                slice(start, start + length)
                for start, length in zip(chunk.offsets, chunk.sizes, strict=True)
            )
            whole[place] = self._part(name, entry, chunk)
        return whole

    def _part(self, name: str, entry: Entry, chunk: Chunk) -> Array:
        """One item, checked against its checksums and against the metadata."""
        try:
            with self._files[chunk.file].open("rb") as file:
                file.seek(chunk.start)
                data = file.read(chunk.length)
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                damaged = archive.testzip()
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise self._refused(chunk, name, printable(error, 120)) from None
        if damaged or len(data) != chunk.length:
            raise self._refused(chunk, name, "its checksum does not fit")
        array = load_tensor(io.BytesIO(data), self._files[chunk.file])
        kind = np_dtype(entry.dtype)
        if (array.dtype, array.shape) != (kind, chunk.sizes):
            found = f"{array.dtype} {array.shape}, not {kind} {chunk.sizes}"
            raise self._refused(chunk, name, found)
        return array

    def _refused(self, chunk: Chunk, name: str, why: str) -> ConversionError:
        text = f'{printable(chunk.file)}, part of "{printable(name)}": damaged: {why}'
        return refusal(text, file=self.path)

    def close(self) -> None:
        """Nothing is open between two reads."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _of_training(name: str, contents: Contents) -> bool:
    """Whether a key above the tensor's own says that it is no weight."""
    above = contents.paths.get(name, ())[:-1] or name.split(".")[:1]
    return any(is_training(key) for key in above)


def _aside(contents: Contents, kept: Mapping[str, Entry]) -> dict[str, str]:
    """What is left aside, counted below the outermost key."""
    counts: dict[str, tuple[int, int]] = {}
    for name in (*contents.tensors, *contents.objects):
        if name not in kept:
            path = contents.paths.get(name) or name.split(".")
            top = next((key for key in path[:-1] if is_training(key)), path[0])
            tensors, objects = counts.get(top, (0, 0))
            tensor = name in contents.tensors
            counts[top] = tensors + tensor, objects + (not tensor)
    return {
        top: ", ".join(
            f"{count} {kind}{'s' if count > 1 else ''}"
            for count, kind in ((tensors, "tensor"), (objects, "object"))
            if count
        )
        for top, (tensors, objects) in counts.items()
    }


def _odd(name: str, entry: Entry) -> Iterator[Issue]:
    """What is wrong with an entry before anything is read."""
    problem = name_problem(name)
    if problem or len(entry.shape) > MAX_RANK:
        yield Issue("file", name, problem or f"{len(entry.shape)} axes")
    elif not _whole(entry):
        held = sum(math.prod(chunk.sizes) for chunk in entry.chunks)
        yield Issue(
            "missing",
            name,
            f"{len(entry.chunks)} parts of {held:,} values in all",
            f"parts that make up {entry.shape}, each value once",
        )


def _whole(entry: Entry) -> bool:
    """Whether the parts fill the tensor, and no two overlap."""
    rank = len(entry.shape)
    shapes = [
        (*c.offsets, *c.sizes) for c in entry.chunks if math.prod(c.sizes)
    ]  # a rank may have got nothing of a short axis
    if any(len(shape) != 2 * rank for shape in shapes):
        return False
    if sum(math.prod(c.sizes) for c in entry.chunks) != math.prod(entry.shape):
        return False
    table = np.array(shapes, np.int64).reshape(-1, 2, rank)
    starts, ends = table[:, 0], table[:, 0] + table[:, 1]
    if (ends > np.array(entry.shape, np.int64)).any():
        return False
    for index in range(len(table)):
        common = (starts[index + 1 :] < ends[index]) & (
            ends[index + 1 :] > starts[index]
        )
        if rank and common.all(axis=1).any():
            return False
    return rank > 0 or len(table) == 1


def _files(path: Path, entries: Mapping[str, Entry]) -> Iterator[tuple[str, Path]]:
    """The files that hold the tensors, each as long as it has to be.

    Raises:
        ConversionError: With every file that is missing or short.
    """
    needed: dict[str, int] = {}
    names: dict[str, set[str]] = {}
    for name, entry in entries.items():
        for chunk in entry.chunks:
            end = chunk.start + chunk.length
            needed[chunk.file] = max(needed.get(chunk.file, 0), end)
            names.setdefault(chunk.file, set()).add(name)
    issues = []
    for file, length in sorted(needed.items()):
        if not (path / file).exists() and "/" not in file:
            example = sorted(names[file])[0]
            issues.append(
                Issue(
                    "file",
                    "",
                    f"{printable(file)} is missing: {len(names[file])} tensors have "
                    f'parts in it, "{printable(example)}" for example',
                )
            )
            continue
        found = shard_in(path / NAME, file, (SUFFIX,))
        if found.stat().st_size < length:
            text = f"{found.stat().st_size} bytes of {length}: cut short"
            issues.append(Issue("file", "", f"{printable(file)} has {text}"))
        yield file, found
    if issues:
        hint = "Every rank wrote files of its own: copy those of all into the folder."
        raise ConversionError(issues, file=path, hint=hint)
