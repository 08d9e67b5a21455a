"""How many inputs a model of some size is asked with, and what is enough of them."""

from __future__ import annotations

import math

from converters.judging.rms import LEAST_INPUTS
from vit_config import ViTConfig

OPERATIONS = 150e9
"""Multiplications and additions of all inputs together, about: seconds, not minutes."""

LEAST_NUMBERS = 512  # independent numbers that are as good as 64 inputs
HEAD_PATCHES = 16  # as pooling does not care how many there are
BATCH = 8
"""Inputs at once, at least; of a small model more, as `batch_of` says."""

BATCH_OPERATIONS = 4e9


def inputs_for(config: ViTConfig) -> int:
    """How many inputs a model gets: 64, fewer if it is large, at least two."""
    return max(2, min(LEAST_INPUTS, int(OPERATIONS / operations(config))))


def batch_of(config: ViTConfig) -> int:
    """How many inputs are computed at once: a small model's cost most by the call."""
    fitting = int(BATCH_OPERATIONS / operations(config))
    return max(BATCH, min(LEAST_INPUTS, fitting))


def operations(config: ViTConfig) -> float:
    """Multiplications and additions for one input, about."""
    rows, width, inner = config.num_tokens, config.embed_dim, config.attn_dim
    branches = 3 if config.mlp_layer == "swiglu" else 2
    block = rows * width * (4 * inner + branches * config.mlp_dim)
    block += 2 * rows * rows * inner
    patch = config.in_chans * math.prod(config.patch_size) * width
    return 2.0 * (config.depth * block + config.num_patches * patch)


def enough(config: ViTConfig, inputs: int) -> bool:
    """Whether the logits of so many inputs are enough numbers to be judged."""
    numbers = min(config.num_classes, config.head_in_dim)
    return inputs >= LEAST_INPUTS or inputs * numbers >= LEAST_NUMBERS
