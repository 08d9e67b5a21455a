"""Deterministic weights and inputs, the same bits on every machine and version.

Golden outputs keep no weights: whoever reads them makes the weights again, from their
canonical names. So nothing here may depend on a random library, on a maths
library or on the processor: a stream of 64-bit integers (splitmix64) becomes floats by
operations that IEEE 754 rounds in one way only.

Every tensor is filled, none of them with zeros or ones: an untouched class token or a
unit norm would hide a mistake.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vit_config import ViTConfig
from vit_config.weights import weight_table

Array = NDArray[Any]
InputKind = Literal["noise", "low_variance", "large", "zeros"]

FAINT = 2.0**-9
"""Scale of the residual stream under a faint fill: its variance is about 1e-6."""

LARGE = 256.0
"""Scale of the inputs of large magnitude."""

_FAINT_PREFIXES = ("cls_token", "dist_token", "reg_token", "pos_embed", "norm_pre.")
_FAINT_PARTS = (".attn.proj.", ".mlp.fc2.", "attn_pool.proj.", "patch_embed.norm.")


def _hash(text: str) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value


def _symmetric(seed: str, shape: tuple[int, ...]) -> Array:
    """float32 values in (-1, 1), never 0, their bits decided by the seed alone."""
    count = math.prod(shape)
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64)
        z = z * np.uint64(0x9E3779B97F4A7C15) + np.uint64(_hash(seed))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    # An odd integer below 2**24 in magnitude is a float32, and so is its quotient.
    odd = (z >> np.uint64(40)).astype(np.int64) * 2 + 1 - 2**24
    return (odd.astype(np.float32) * np.float32(2.0**-24)).reshape(shape)


def _between(values: Array, low: float, high: float) -> Array:
    """Moves (-1, 1) to magnitudes in (low, high), keeping the signs."""
    size = np.abs(values) * np.float32(high - low) + np.float32(low)
    moved: Array = np.copysign(size, values)
    return moved


def fill(name: str, shape: tuple[int, ...], *, faint: bool = False) -> Array:
    """Fills the weight of that canonical name.

    Matrices and convolution kernels get a standard deviation of 1 / sqrt(fan in), so
    that activations keep their scale; norm weights lie in 0.7 to 1.3; biases, tokens
    and positions have magnitudes of 0.1 to 0.5 and either sign, layer scales of 0.2
    to 1.

    Args:
        name: Canonical name, `"blocks.0.attn.qkv.weight"`.
        shape: Its shape in the canonical (torch) layout.
        faint: Scales down all that is written to the residual stream. The norms then
            see a variance of about 1e-6, where a wrong epsilon cannot hide. (Patches
            become faint with the inputs, `image(..., "low_variance")`.)

    Returns:
        A float32 array.
    """
    values = _symmetric(name, tuple(shape))
    kind = name.rsplit(".", 1)[-1]
    if kind == "gamma":
        values = _between(values, 0.2, 1.0)
    elif kind == "weight" and len(shape) == 1:
        values = np.float32(1.0) + np.float32(0.3) * values
    elif kind == "weight":
        fan_in = math.prod(shape[1:])
        values = values * np.float32(math.sqrt(3.0 / fan_in))
    else:
        values = _between(values, 0.1, 0.5)
    if faint and is_faint(name):
        values = values * np.float32(FAINT)
    return values


def is_faint(name: str) -> bool:
    """Whether a faint fill scales this weight down."""
    return (
        name.startswith(_FAINT_PREFIXES)
        or name == "patch_embed.proj.bias"
        or any(part in name for part in _FAINT_PARTS)
    )


def fill_weights(config: ViTConfig, *, faint: bool = False) -> dict[str, Array]:
    """Fills every weight of a config, in the order of the torch twin's state dict.

    With `qkv_bias="qv"` the key's third of the bias is zero, as such files store it.
    """
    weights = {
        weight.name: fill(weight.name, weight.shape, faint=faint)
        for weight in weight_table(config)
    }
    if config.qkv_bias == "qv":
        width = config.attn_dim
        for name, values in weights.items():
            if name.endswith(".attn.qkv.bias"):
                values[width : 2 * width] = 0.0
    return weights


def image(shape: tuple[int, ...], seed: int = 0, kind: InputKind = "noise") -> Array:
    """Makes an input in torch layout, (batch, channels, *spatial).

    The values of one batch element do not depend on how many there are.

    Args:
        shape: Shape of the result, batch first.
        seed: Another seed, other values.
        kind: `"noise"` is uniform in (-1, 1); `"low_variance"` the same scaled to a
            variance of about 1e-6; `"large"` the same times 256; `"zeros"` all zero.

    Returns:
        A float32 array.
    """
    if kind == "zeros":
        return np.zeros(shape, np.float32)
    scale = {"noise": 1.0, "low_variance": FAINT, "large": LARGE}[kind]
    return _symmetric(f"image {seed}", tuple(shape)) * np.float32(scale)
