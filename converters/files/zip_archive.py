"""Zip archives from strangers: members read where they lie, each held to its CRC-32.

Python's `zipfile` finds the members; their bytes are read here, in chunks that are
summed up on the way. zipfile compares checksums, too, but only of what is read in one
go from first to last byte: from Python 3.12 on a `seek` turns the comparison off.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

from converters.errors import ConversionError, printable, refusal
from converters.files.window import buffered

CHUNK = 1 << 20
MAX_MEMBERS = 100_000

_LOCAL_HEADER = 30
_SIGNATURE = b"PK\x03\x04"


class Extent:
    """A run of bytes in a file, with the checksum that it should have.

    Args:
        file: The file.
        start: Position of the first byte.
        size: Number of bytes.
        what: What it is, for messages: `member "config.json"`.
        path: The file's path, for messages.
        crc: CRC-32 of the bytes; None if nobody noted one.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: int,
        size: int,
        *,
        what: str,
        path: Path,
        crc: int | None = None,
    ) -> None:
        self.file, self.start, self.size = file, start, size
        self.what, self.path = what, path
        self._crc = crc  # None as soon as the bytes were compared

    def read_into(self, out: Any, offset: int = 0) -> None:
        """Fills a buffer with the bytes from an offset on.

        A buffer for all of them is summed up while it is filled; before a part is
        read, the whole is summed up once.

        Raises:
            ConversionError: If the bytes are not those that the checksum was made of.
        """
        view = memoryview(out).cast("B")
        whole = offset == 0 and len(view) == self.size
        if not whole:
            self.check()
        crc = 0
        self._seek(offset)
        for begin in range(0, len(view), CHUNK):
            chunk = view[begin : begin + CHUNK]
            self._fill(chunk)
            if self._crc is not None:
                crc = zlib.crc32(chunk, crc)
        if whole:
            self._compare(crc)

    def read(self) -> bytes:
        """All bytes; for small ones."""
        out = bytearray(self.size)
        self.read_into(out)
        return bytes(out)

    def check(self) -> None:
        """Reads all bytes once, and keeps none, unless they were compared before.

        Raises:
            ConversionError: If they are not those that the checksum was made of.
        """
        if self._crc is None:
            return
        crc, chunk = 0, memoryview(bytearray(min(CHUNK, self.size)))
        self._seek(0)
        for begin in range(0, self.size, CHUNK):
            part = chunk[: min(CHUNK, self.size - begin)]
            self._fill(part)
            crc = zlib.crc32(part, crc)
        self._compare(crc)

    def window(self) -> BinaryIO:
        """The bytes as a file of their own, read only; checksums are not compared."""
        return buffered(self.file, self.start, self.size)

    def _seek(self, offset: int) -> None:
        try:
            self.file.seek(self.start + offset)
        except (OSError, ValueError) as error:
            raise self._damaged(printable(error, 120)) from None

    def _fill(self, view: memoryview) -> None:
        done = 0
        while done < len(view):
            try:
                count = cast(BufferedReader, self.file).readinto(view[done:])
            except OSError as error:
                raise self._damaged(printable(error, 120)) from None
            if not count:
                raise self._damaged("cut short")
            done += count

    def _compare(self, crc: int) -> None:
        if self._crc is not None and crc != self._crc:
            raise self._damaged(
                f"its CRC-32 is {crc:08x}, and {self._crc:08x} was noted",
                "Copy or download the file again.",
            )
        self._crc = None

    def _damaged(self, why: str, hint: str = "") -> ConversionError:
        return refusal(f"{self.what} is damaged: {why}", file=self.path, hint=hint)


class ZipArchive:
    """The members of a zip archive, and no others than an honest writer makes.

    Refused are members that stand twice, are encrypted, links, or paths out of the
    archive. Compressed ones are read up to a limit (`read`), never served as an extent.

    Args:
        file: The opened archive; stays the caller's.
        path: Its path, for messages.
        noun: What a member is called in messages.

    Attributes:
        members: The entries by name, without those of folders.
        checksums: Whether the writer noted checksums. `torch.save` can leave them out
            (`torch.serialization.set_crc32_options(False)`): all are 0 then.

    Raises:
        ConversionError: If it is no such archive.
    """

    def __init__(self, file: BinaryIO, path: Path, noun: str = "entry") -> None:
        self._file, self.path, self._noun = file, path, noun
        try:
            infos = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            text = f"cut short or broken: {printable(error, 120)}"
            raise refusal(text, file=path) from None
        if len(infos) > MAX_MEMBERS:
            raise refusal(f"{len(infos)} entries; too many", file=path)
        self._end = file.seek(0, 2)
        members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            if info.filename in members:
                raise self._refused(info.filename, "of the archive stands twice")
            members[info.filename] = info
            problem = _problem(info)
            if problem:
                raise self._refused(info.filename, problem)
        self.members: Mapping[str, zipfile.ZipInfo] = {
            name: info for name, info in members.items() if not name.endswith("/")
        }
        self.checksums = any(info.CRC for info in infos if info.file_size)

    def extent(self, name: str) -> Extent:
        """Where the bytes of a stored member are.

        Raises:
            ConversionError: If there is no such member, or if it is compressed.
        """
        info = self.members.get(name)
        if info is None:
            raise refusal(
                f'there is no {self._noun} "{printable(name)}"', file=self.path
            )
        if info.compress_type != zipfile.ZIP_STORED:
            raise self._refused(name, "is compressed, which torch never does")
        if info.compress_size != info.file_size:
            raise self._refused(name, "announces two sizes")
        return self._extent(info)

    def read(self, name: str, limit: int) -> bytes:
        """A small member, stored or deflated.

        Args:
            name: Its name.
            limit: The most bytes that it may have.

        Raises:
            ConversionError: If there is none, if it is larger, or damaged.
        """
        info = self.members.get(name)
        if info is not None and info.file_size > limit:
            raise self._refused(name, f"has {info.file_size} bytes; too many")
        if info is None or info.compress_type != zipfile.ZIP_DEFLATED:
            return self.extent(name).read()
        packed = self._extent(info)
        packed._crc = None  # the noted one is of what comes out
        inflate = zlib.decompressobj(-15)
        try:
            data = inflate.decompress(packed.read(), info.file_size + 1)
        except zlib.error as error:
            raise packed._damaged(printable(error, 120)) from None
        if len(data) != info.file_size or (
            self.checksums and zlib.crc32(data) != info.CRC
        ):
            raise packed._damaged("it does not inflate to what was noted")
        return data

    def _extent(self, info: zipfile.ZipInfo) -> Extent:
        start = member_start(self._file, info)
        what = f'{self._noun} "{printable(info.filename)}"'
        if start is None:
            raise refusal(f"{what} is not where it should be", file=self.path)
        if start + info.compress_size > self._end:
            raise refusal(f"cut short in {what}", file=self.path)
        return Extent(
            self._file,
            start,
            info.compress_size,
            what=what,
            path=self.path,
            crc=info.CRC if self.checksums else None,
        )

    def _refused(self, name: str, problem: str) -> ConversionError:
        text = f'{self._noun} "{printable(name)}" {problem}'
        return refusal(text, file=self.path)


def member_start(file: BinaryIO, info: zipfile.ZipInfo) -> int | None:
    """Position of a member's bytes, behind its local header; None if there is none."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or not header.startswith(_SIGNATURE):
        return None
    name, extra = struct.unpack("<HH", header[26:30])
    return info.header_offset + _LOCAL_HEADER + int(name) + int(extra)


def _problem(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 1:
        return "is encrypted"
    if info.filename.startswith("/") or ".." in info.filename.split("/"):
        return "is a path"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link"
    return ""
