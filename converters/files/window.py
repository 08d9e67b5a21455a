"""A part of a file, as a file."""

from __future__ import annotations

from io import BufferedReader, RawIOBase
from typing import Any, BinaryIO, cast


def buffered(file: BinaryIO, start: int, size: int) -> BinaryIO:
    """A part of a file, for reading.

    Args:
        file: The file, which nobody else moves about in meanwhile.
        start: Position of the first byte.
        size: Number of bytes.
    """
    return cast(BinaryIO, BufferedReader(_Window(file, start, size)))


def growing(file: BinaryIO, start: int) -> BinaryIO:
    """What follows a position in a file, for writing and reading.

    Args:
        file: The file.
        start: The position.
    """
    return cast(BinaryIO, _Window(file, start, 0))


class _Window(RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def writable(self) -> bool:
        return True

    def write(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._position)
        self._file.write(view)
        self._position += len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._size = self._position if size is None else size
        self._file.truncate(self._start + self._size)
        return self._size

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._position))
        self._file.seek(self._start + self._position)
        count = cast(BufferedReader, self._file).readinto(view[:count])
        self._position += count
        return count
