"""Files of PyTorch: `.pth`, `.pt`, `.bin`, `.ckpt`, `.pth.tar`, TorchScript, `.pt2`.

The pickle in them is read without torch and without running anything (`unpickling.py`);
the values are read where they lie, a tensor at a time, and held to the archive's
checksums on the way.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

from converters.errors import printable, refusal
from converters.files.base import what_is
from converters.files.checkpoint import Checkpoint, from_module, from_values
from converters.files.contents import OtherContents
from converters.files.pickle_scan import pickle_at, with_tuples
from converters.files.pickled_tensor import PickledTensor
from converters.files.pt2_archive import PT2_MARKS, is_pt2, tensors_of_pt2
from converters.files.safetensors_file import MAX_TENSORS
from converters.files.tensor_makers import MAKERS
from converters.files.torch_storages import (
    LegacyStorages,
    ZipStorages,
    is_old_checkpoint,
)
from converters.files.unpickling import unpickled
from converters.files.zip_archive import ZipArchive
from converters.mapping.pipe import Array, TensorInfo

PICKLE = "data.pkl"
_MARKS = (PICKLE, *PT2_MARKS)
_NO_CHECKSUMS = {
    "zip": "none: it was saved with torch.serialization.set_crc32_options(False)",
    "old": "none: torch noted none before 1.6",
}


class TorchFile:
    """The tensors of a torch checkpoint; those of nested dicts under dotted names.

    Args:
        path: The file.

    Attributes:
        others: What is in it beside the weights.

    Raises:
        ConversionError: If it is damaged, or if its weights are in an object that only
            its own class can read.
    """

    format = "torch"

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_container(path)
        self._file: BinaryIO = path.open("rb")
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        found, unchecked = _contents(self._file, self.path)
        if not found.tensors:
            raise refusal("there are no weights in it", file=self.path)
        if len(found.tensors) > MAX_TENSORS:
            text = f"{len(found.tensors)} tensors; too many"
            raise refusal(text, file=self.path)
        self._tensors = found.tensors
        self.others = OtherContents(found.aside, found.labels, unchecked)
        self.tensors: Mapping[str, TensorInfo] = {
            name: tensor.info for name, tensor in self._tensors.items()
        }

    def read(self, name: str) -> Array:
        """The values of one tensor.

        Raises:
            ConversionError: If they are not those that were saved.
        """
        return self._tensors[name].read(self.path)

    def close(self) -> None:
        """Lets the file go."""
        self._tensors = {}
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def load_tensor(data: BinaryIO, path: Path) -> Array:
    """The one tensor that a stream holds, as `torch.save` wrote it.

    Args:
        data: The stream.
        path: Where it comes from, for messages.

    Raises:
        ConversionError: If it is no plain tensor, or damaged.
    """
    value = _value(ZipArchive(data, path))[0]
    problem = value.refused() if isinstance(value, PickledTensor) else "no tensor"
    if problem:
        raise refusal(problem, file=path)
    array: Array = value.read(path)
    return array


def is_torch(path: Path) -> bool:
    """Whether a file is one of torch's by what is in it, or a pickle."""
    try:
        with path.open("rb") as file:
            kind = what_is(file.read(512))
            if kind != "a zip archive":
                return kind == "a Python pickle"
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False
    return any(name.rpartition("/")[2] in _MARKS for name in names)


def _check_container(path: Path) -> None:
    """Refuses what is none of torch's files, and says what it is."""
    if not path.exists():
        raise refusal("no such file", file=path)
    if not path.is_file():
        raise refusal("not a regular file", file=path)
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise refusal("the file is empty", file=path)
    kind = what_is(head)
    if kind not in ("a zip archive", "a Python pickle"):
        found = (
            f"{kind}, no matter what its name says" if kind else "not torch's format"
        )
        raise refusal(found, file=path)


def _contents(file: BinaryIO, path: Path) -> tuple[Checkpoint, str]:
    """What is in a file or a part of one, and whether it has no checksums."""
    head = file.read(512)
    file.seek(0)
    if what_is(head) == "a Python pickle":
        return _old(file, path), _NO_CHECKSUMS["old"]
    archive = ZipArchive(file, path)
    unchecked = "" if archive.checksums else _NO_CHECKSUMS["zip"]
    if is_pt2(archive):
        return tensors_of_pt2(archive, lambda part: _contents(part, path)[0]), unchecked
    value, scripted = _value(archive)
    return (from_module if scripted else from_values)(value, path), unchecked


def _value(archive: ZipArchive) -> tuple[Any, bool]:
    """What the pickle of an archive holds, and whether TorchScript wrote it."""
    root = _root(archive)
    scripted = f"{root}constants.pkl" in archive.members
    data = archive.extent(root + PICKLE).read()
    value = unpickled(
        with_tuples(data) if scripted else data,
        path=archive.path,
        what=f'entry "{printable(root + PICKLE)}"',
        makers=MAKERS,
        stored=ZipStorages(archive, root),
    )
    return value, scripted


def _root(archive: ZipArchive) -> str:
    """What stands before the names of all entries."""
    found = [
        name.removesuffix(PICKLE)
        for name in archive.members
        if name == PICKLE or (name.endswith(f"/{PICKLE}") and name.count("/") == 1)
    ]
    if len(found) == 1:
        return found[0]
    held = ", ".join(printable(name, 40) for name in list(archive.members)[:3])
    raise refusal(
        f"a zip archive of something else: {held or 'nothing'}, and no {PICKLE}",
        file=archive.path,
        hint="If the file to read is in it, unpack it first.",
    )


def _old(file: BinaryIO, path: Path) -> Checkpoint:
    """A file of torch before 1.6, or a plain pickle of a dict."""
    first = pickle_at(file, path, "the first pickle")
    if not is_old_checkpoint(first, path):
        value = unpickled(first, path=path, makers=MAKERS)
        return from_values(value, path)
    storages = LegacyStorages(file, path)
    return from_values(storages.value, path)
