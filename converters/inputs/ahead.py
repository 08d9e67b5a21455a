"""Reads ahead in threads, in order, a few at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from converters.errors import ConversionError

T = TypeVar("T")
R = TypeVar("R")


def workers() -> int:
    """How many threads read, if nobody says."""
    return min(8, os.cpu_count() or 1)


def read_ahead(
    things: Iterable[T], read: Callable[[T], R], ahead: int, threads: int | None = None
) -> Generator[tuple[T, R | ConversionError]]:
    """What `read` makes of each, in order, while the caller works on those before.

    Hold `converters.inputs.picture.quiet` around the loop.

    Args:
        things: What to read.
        read: Called in threads, once for each.
        ahead: How many may wait to be taken: the bound of what is in memory.
        threads: How many read at once; 0 reads in this thread, when asked.

    Yields:
        Each thing with its result, or with the refusal that reading it gave. Any other
        error is raised.
    """
    if threads == 0:
        yield from ((thing, _refused(read, thing)) for thing in things)
        return
    rest = iter(things)
    waiting: deque[tuple[T, Future[R | ConversionError]]] = deque()
    pool = ThreadPoolExecutor(threads or workers(), "vit-duet-read")
    try:
        waiting.extend(
            (thing, pool.submit(_refused, read, thing))
            for thing in islice(rest, max(1, ahead))
        )
        while waiting:
            thing, future = waiting.popleft()
            found = future.result()
            for more in islice(rest, 1):
                waiting.append((more, pool.submit(_refused, read, more)))
            yield thing, found
    finally:
        pool.shutdown(cancel_futures=True)


def _refused(read: Callable[[T], R], thing: T) -> R | ConversionError:
    try:
        return read(thing)
    except ConversionError as error:
        return error
