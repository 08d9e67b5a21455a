"""Resampling along an axis, in bits that do not depend on the threads of BLAS.

OpenBLAS, which NumPy's wheels have, shares a large product among its threads and then
sums in another order: a picture of 777 x 1023 pixels had other bits with two threads
than with one. A product of up to `_SMALL` multiplications it leaves to one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SMALL = 2**18
"""`SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD` of OpenBLAS."""

_ROWS = 16
"""Points of the result that are made together.

A row of the matrix is zero but for some neighbours, and so are the rows beside it: with
few at once, most of a large picture is left out of the product.
"""


def along_last(x: NDArray[Any], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., lines, n) times the transposed (m, n), in float32: (..., lines, m)."""
    made = np.empty((*x.shape[:-1], len(weights)), np.float32)
    lines = x.shape[-2]
    for row in range(0, len(weights), _ROWS):
        part = weights[row : row + _ROWS]
        used = np.flatnonzero(part.any(axis=0))
        low, high = used[0], used[-1] + 1
        part = np.ascontiguousarray(part[:, low:high])
        step = max(1, _SMALL // part.size)
        for first in range(0, lines, step):
            # The last piece is as long as the others: a single line would be the
            # product with a vector, which is shared among threads much earlier.
            start = max(0, min(first, lines - step))
            source = x[..., start : start + step, low:high]
            source = np.asarray(source, np.float32, order="C")
            into = made[..., start : start + step, row : row + _ROWS]
            np.matmul(source, part.T, out=into)
    return made
