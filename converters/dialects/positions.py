"""Position tables that a library computes and stores in no file.

The canonical layout always stores the table, so reading such a file makes it once,
here. Each is the library's own formula; other libraries' tables are other tables.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vit_config import ViTConfig

TEMPERATURE = 10000.0

Positions = NDArray[np.float32]


def videomae(config: ViTConfig) -> Positions:
    """VideoMAE's: one sequence of tokens, sine and cosine in turn.

    The library computes it in float64 and rounds at the end, and so does this: the
    same bits.
    """
    width = config.embed_dim
    exponents = 2 * (np.arange(width) // 2) / width
    tokens = np.arange(config.num_pos_tokens)[:, None]
    angles = tokens / np.power(TEMPERATURE, exponents)
    table = np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles))
    return table[None].astype(np.float32)


def simple_vit(config: ViTConfig) -> Positions:
    """SimpleViT's (lucidrains): per axis all sines, then all cosines; last axis first.

    The exponents reach the temperature itself (`k / (K - 1)`), and what the axes leave
    of the width is zero. The library computes in float32, so the last bits may differ.
    """
    grid = config.grid_size
    count = config.embed_dim // (2 * len(grid))
    omega = TEMPERATURE ** -(np.arange(count) / (count - 1))
    places = np.meshgrid(*(np.arange(n) for n in grid), indexing="ij")
    columns = []
    for place in reversed(places):
        angles = place.reshape(-1, 1) * omega
        columns += [np.sin(angles), np.cos(angles)]
    table = np.concatenate(columns, axis=1)
    left = config.embed_dim - table.shape[1]
    return np.pad(table, ((0, 0), (0, left)))[None].astype(np.float32)
