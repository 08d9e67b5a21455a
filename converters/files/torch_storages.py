"""Where torch puts the values of tensors: entries of a zip, or behind the pickles."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any, BinaryIO

from converters.errors import refusal
from converters.files.pickle_scan import pickle_at
from converters.files.pickled_tensor import STORAGES, Storage
from converters.files.tensor_makers import MAKERS
from converters.files.unpickling import path_of, unpickled
from converters.files.zip_archive import Extent, ZipArchive

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT = struct.Struct("<q")
_MAX_BYTES = 1 << 46


class ZipStorages:
    """Storages of a zip archive: what persistent ids of its pickle stand for.

    Args:
        archive: The archive.
        root: What stands before the names of its entries.
    """

    def __init__(self, archive: ZipArchive, root: str) -> None:
        self._archive, self._root = archive, root
        self._known: dict[str, Extent] = {}
        order = f"{root}byteorder"
        written = archive.read(order, 64) if order in archive.members else b"little"
        self._swapped = written.strip() == b"big"

    def __call__(self, key: Any) -> Storage:
        """The storage of a persistent id."""
        dtype, name, _, nbytes = _parts(key)
        if name not in self._known:
            self._known[name] = self._archive.extent(f"{self._root}data/{name}")
        extent = self._known[name]
        if extent.size != nbytes:
            raise refusal(
                f"{extent.what} has {extent.size} bytes, and {nbytes} are announced",
                file=self._archive.path,
            )
        return Storage(dtype, nbytes, extent, swapped=self._swapped)


class LegacyStorages:
    """Storages of a file of torch before 1.6, which lie behind its pickles.

    Args:
        file: The file, behind the magic number.
        path: Its path, for messages.

    Attributes:
        value: What was saved.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._path = path
        self._roots: dict[str, tuple[Storage, int]] = {}
        protocol = unpickled(pickle_at(file, path, "the header"), path=path)
        system = unpickled(pickle_at(file, path, "the header"), path=path)
        if protocol != _PROTOCOL or not isinstance(system, dict):
            raise refusal("torch's format of an unknown version", file=path)
        if system.get("little_endian") is not True:
            raise refusal("its most significant byte comes first", file=path)
        data = pickle_at(file, path, "the pickle")
        self.value = unpickled(data, path=path, makers=MAKERS, stored=self)
        keys = unpickled(pickle_at(file, path, "the list of storages"), path=path)
        end = file.seek(0, 1)
        size = file.seek(0, 2)
        for key in keys if isinstance(keys, list) else ():
            known = self._roots.get(str(key))
            if known is None:
                raise refusal("a storage that no tensor has", file=path)
            end = self._place(file, end, size, *known)
        if any(storage.extent is None for storage, _ in self._roots.values()):
            raise refusal("a storage is not in the file", file=path)

    def __call__(self, key: Any) -> Any:
        """The storage of a persistent id, a part of one, or the class of a module."""
        if isinstance(key, tuple) and len(key) == 4 and key[0] == "module":
            return key[1]  # behind it stand its file and its source code
        dtype, name, view, nbytes = _parts(key)
        width = STORAGES_BY_TYPE[dtype]
        root, _ = self._roots.setdefault(name, (Storage(dtype, nbytes), width))
        if view is None:
            return root
        _, offset, length = view
        start, inside = int(offset) * width, int(length) * width
        if min(start, inside) < 0 or start + inside > root.nbytes:
            raise pickle.UnpicklingError("a view beyond its storage")
        return Storage(dtype, inside, root=root, start=start)

    def _place(
        self, file: BinaryIO, start: int, size: int, root: Storage, width: int
    ) -> int:
        """Notes where a storage is, and gives the position behind it."""
        file.seek(start)
        head = file.read(_COUNT.size)
        if len(head) != _COUNT.size:
            raise refusal("cut short", file=self._path)
        (count,) = _COUNT.unpack(head)
        begin = start + _COUNT.size
        if count * width != root.nbytes or begin + root.nbytes > size:
            raise refusal("cut short, or a storage of another size", file=self._path)
        root.extent = Extent(
            file, begin, root.nbytes, what="a storage", path=self._path
        )
        return begin + root.nbytes


STORAGES_BY_TYPE = dict(STORAGES.values())


def _parts(key: Any) -> tuple[str, str, Any, int]:
    """Type, name, view and number of bytes of a storage that a pickle refers to."""
    if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage":
        raise pickle.UnpicklingError("a reference that is no storage")
    kind = path_of(key[1]).rpartition(".")[2]
    name, count = str(key[2]), key[4]
    if kind not in STORAGES or type(count) is not int or count < 0:
        raise pickle.UnpicklingError(f"a storage of an unknown kind ({kind})")
    dtype, width = STORAGES[kind]
    if count * width > _MAX_BYTES:
        raise pickle.UnpicklingError(f"a storage of {count * width} bytes")
    return dtype, name, (key[5] if len(key) == 6 else None), count * width


def is_old_checkpoint(data: bytes, path: Path) -> bool:
    """Whether the first pickle of a file is torch's magic number."""
    if len(data) > 64:
        return False
    return bool(unpickled(data, path=path) == MAGIC)
