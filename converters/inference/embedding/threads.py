"""How many threads compute: another number may sum in another order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def fixed_threads(library: str, begun: Any = None) -> Iterator[int]:
    """Holds the number of threads that compute.

    Torch is given the number with which the work was begun, and its own back at the
    end. TensorFlow and JAX choose theirs when they start, from the processors that the
    process may use: these are counted, and nothing is set.

    Args:
        library: What computes (`Running.library`).
        begun: What an earlier run took, if there was one; whatever is no number of
            threads is left aside.

    Yields:
        The number that is taken.
    """
    if "torch" not in library:
        yield _processors()
        return
    import torch

    own = torch.get_num_threads()
    known = isinstance(begun, int) and not isinstance(begun, bool) and begun > 0
    torch.set_num_threads(begun if known else own)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(own)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
