"""Position tables that a library computes and stores in no file.

The canonical layout always stores the table, so reading such a file makes it once,
here. Each is the library's own formula; other libraries' tables are other tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from converters.libraries.variant import Computed
from vit_config import ViTConfig

TEMPERATURE = 10000.0

Positions = NDArray[np.float32]
Floats = NDArray[np.floating]


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
    of the width is zero. The library computes in float32, operation by operation, with
    torch's own power, sine and cosine, whose last bits depend on the processor; here
    each is rounded once. Measured with torch 2.14.1 the two are 6e-8 apart on a grid
    of 14 x 14, and 4e-6 on one of 64 x 64, where a last bit of omega is multiplied.
    """
    grid = config.grid_size
    count = config.embed_dim // (2 * len(grid))
    steps = np.arange(count, dtype=np.float32) / np.float32(max(count - 1, 1))
    omega = np.float32(1) / _rounded(lambda x: np.power(TEMPERATURE, x), steps)
    places = np.meshgrid(*(np.arange(n) for n in grid), indexing="ij")
    columns = []
    for place in reversed(places):
        angles = place.reshape(-1, 1).astype(np.float32) * omega
        columns += [_rounded(np.sin, angles), _rounded(np.cos, angles)]
    table = np.concatenate(columns, axis=1)
    left = config.embed_dim - table.shape[1]
    return np.pad(table, ((0, 0), (0, left)))[None].astype(np.float32)


def _rounded(function: Callable[[Floats], Floats], values: Positions) -> Positions:
    """A function of float32 values, rounded once."""
    return function(values.astype(np.float64)).astype(np.float32)


def computed_by(
    rule: str, make: Callable[[ViTConfig], Positions]
) -> Callable[[ViTConfig], Mapping[str, Computed]]:
    """The `computed` of a variant whose position table follows a rule.

    Args:
        rule: The rule, in words.
        make: Computes the table.
    """

    def computed(config: ViTConfig) -> Mapping[str, Computed]:
        if config.pos_embed != "sincos":
            return {}
        return {"pos_embed": Computed(rule, lambda: make(config))}

    return computed


VIDEOMAE_RULE = "VideoMAE's sine-cosine table over the token index"
SIMPLE_VIT_RULE = "SimpleViT's sine-cosine table over the grid"

VIDEOMAE = computed_by(VIDEOMAE_RULE, videomae)
SIMPLE_VIT = computed_by(SIMPLE_VIT_RULE, simple_vit)
