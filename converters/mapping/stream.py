"""Tensors in a stream: the next one is read while the last ones are hashed or written.

Reading, moving and hashing large arrays leave Python's lock, so threads work at the
same time. Each stage holds few arrays, so that memory stays bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Self

import numpy as np

from converters.mapping.pipe import Array, Digests, Source, sha256

_HASHED = 2  # arrays being hashed at a time
_KEPT = (32 << 20) - (1 << 16)  # just below the largest block that glibc learns from


@contextmanager
def ahead(
    source: Source, names: Iterable[str]
) -> Iterator[Iterator[tuple[str, Array]]]:
    """Serves tensors in order, each read in a thread while the one before is used.

    One thread does all the reading, so the source need not be safe for several. An
    error in reading is raised where its tensor would have come. At the end of the
    block nothing reads any more.

    Open it before a `Hasher`, so that its thread ends last: glibc hands the memory that
    a thread kept to the next one that starts, beginning with the last that ended. The
    other way round a conversion holds up to 40 MB more.

    Args:
        source: The tensors; nobody else may read from it meanwhile.
        names: Which, in which order.

    Yields:
        Names and values.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield _served(pool, source, names)


def _served(
    pool: ThreadPoolExecutor, source: Source, names: Iterable[str]
) -> Iterator[tuple[str, Array]]:
    before: tuple[str, Future[Array]] | None = None
    for name in names:
        future = pool.submit(source.read, name)
        if before is not None:
            yield before[0], before[1].result()
        before = name, future
    if before is not None:
        yield before[0], before[1].result()


class Hasher:
    """Hashes arrays in threads of its own, while the next ones are read or written.

    At most two arrays wait, so that memory stays bounded. Use as a context manager.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=_HASHED)
        self._waiting: deque[Future[str]] = deque()
        self._all: dict[str, tuple[str, tuple[int, ...], Future[str]]] = {}

    def add(self, name: str, array: Array) -> None:
        """Hashes an array that nobody will change any more."""
        while len(self._waiting) >= _HASHED:
            self._waiting.popleft().result()
        future = self._pool.submit(sha256, array)
        self._waiting.append(future)
        self._all[name] = (str(array.dtype), tuple(array.shape), future)

    def digests(self) -> Digests:
        """Type, shape and SHA-256 of every array, in the order they came."""
        return {
            name: (dtype, shape, future.result())
            for name, (dtype, shape, future) in self._all.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def keep_freed_memory() -> None:
    """Has the memory of one tensor used again for the next, where malloc is glibc's.

    Otherwise much of it goes back to the system each time, and comes again page by
    page, cleared: a seventh of the processor time of a conversion. The largest mapped
    block that was ever freed sets, up to 32 MB, what glibc maps by itself, and twice
    that, what it keeps (`mallopt(3)`, M_MMAP_THRESHOLD). No page of this one is
    touched. Elsewhere nothing happens.
    """
    np.empty(_KEPT, np.uint8)
