"""Attention through all blocks, by its product."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def last_and_rollout(blocks: Iterable[NDArray[Any]]) -> tuple[Array, Array]:
    """Attention of the last block, and of all of them.

    Attention rollout of Abnar and Zuidema (2020, "Quantifying Attention Flow in
    Transformers", section 3 and equation 1): with W_i the attention of block i, mean
    over its heads, and half of each token coming past it through the residual,

        A_i = 0.5 W_i + 0.5 I,    R_1 = A_1,    R_i = A_i R_(i-1).

    Rows of R are what each token after the last block has of every token before the
    first one; they sum to one.

    Args:
        blocks: (H, N, N) of each block, from the first; rows sum to one.

    Returns:
        W of the last block, and R; both (N, N).
    """
    whole = None
    mean = None
    for maps in blocks:
        mean = maps.mean(axis=0, dtype=np.float64)
        mixed = 0.5 * (mean + np.eye(len(mean)))
        whole = mixed if whole is None else mixed @ whole
    if mean is None or whole is None:
        raise ValueError("a model without blocks")
    return mean, whole
