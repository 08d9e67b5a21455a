"""Resampling as one matrix per axis, for every rule that ViT libraries use.

All of these rules are separable: a table on a grid of any rank is resampled axis by
axis. The matrices are made and applied in float64. Compared with torch 2.13
`F.interpolate`, SciPy 1.17 `ndimage.zoom` and JAX 0.10 `image.resize` in the tests.

With `n` source points, `m` target points and `s = n / m`, target point `i` looks at the
source coordinate

| rule | coordinate | weights | of |
| --- | --- | --- | --- |
| `bicubic_aa` | `(i + .5) s - .5` | cubic, a = -0.5, antialiased | timm |
| `bicubic` | the same | cubic, a = -0.75 | Hugging Face, MAE, DeiT |
| `bicubic_offset` | `(i + .5) n / (m + .1) - .5` | the same | DINO, DINOv2 |
| `bicubic_align` | `i (n - 1) / (m - 1)` | the same | torchvision |
| `bilinear` | `(i + .5) s - .5` | linear | FlexiViT in timm, V-JEPA |
| `bilinear_aa` | the same | linear, antialiased | big_vision (`jax.image`) |
| `zoom1` | `i (n - 1) / (m - 1)` | linear | vit_jax (`scipy.ndimage`) |

Antialiased weights are widened by `s` when shrinking, cut at the border and made to sum
to one; the others repeat the border.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Array = NDArray[Any]

RULES = (
    "bicubic_aa",
    "bicubic",
    "bicubic_offset",
    "bicubic_align",
    "bilinear",
    "bilinear_aa",
    "zoom1",
)
"""Every rule, by the names of `ViTConfig.pos_resize`."""

OFFSET = 0.1  # what DINO adds so that the factor never rounds down to one point less


@lru_cache(maxsize=256)
def axis_matrix(rule: str, source: int, target: int) -> Matrix:
    """The matrix (target, source) that resamples one axis.

    Args:
        rule: One of `RULES`.
        source: Points of the axis now.
        target: Points of it afterwards.

    Raises:
        ValueError: If there is no such rule.
    """
    if rule not in RULES:
        raise ValueError(f"no rule {rule!r}; there are {', '.join(RULES)}")
    points = np.arange(target, dtype=np.float64)
    if rule in ("bicubic_align", "zoom1"):
        # The last point falls on the last one, whatever the quotient rounds to.
        where = points * (source - 1) / max(target - 1, 1)
    else:
        extra = OFFSET if rule == "bicubic_offset" else 0.0
        where = (points + 0.5) * (source / (target + extra)) - 0.5
    if rule.endswith("_aa"):
        matrix = _antialiased(where, source, max(source / target, 1.0), rule)
    elif rule in ("bilinear", "zoom1"):
        matrix = _taps(where, source, 1)
    else:
        matrix = _taps(where, source, 2)
    matrix.flags.writeable = False  # it is shared
    return matrix


def _cubic(x: Matrix, a: float) -> Matrix:
    """Keys' kernel (1981): two cubics, of which `a` is the slope at 1."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    weight: Matrix = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return weight


def _linear(x: Matrix) -> Matrix:
    weight: Matrix = np.maximum(1 - np.abs(x), 0.0)
    return weight


def _taps(where: Matrix, source: int, reach: int) -> Matrix:
    """Weights of the `2 * reach` nearest points; those outside are the border's."""
    matrix = np.zeros((len(where), source))
    first = np.floor(where).astype(int)
    rows = np.arange(len(where))
    for step in range(1 - reach, reach + 1):
        distance = where - (first + step)
        weight = _linear(distance) if reach == 1 else _cubic(distance, -0.75)
        np.add.at(matrix, (rows, np.clip(first + step, 0, source - 1)), weight)
    return matrix


def _antialiased(where: Matrix, source: int, scale: float, rule: str) -> Matrix:
    distance = (np.arange(source) - where[:, None]) / scale
    weight = _linear(distance) if rule == "bilinear_aa" else _cubic(distance, -0.5)
    matrix: Matrix = weight / weight.sum(axis=1, keepdims=True)
    return matrix


def resample(values: Array, shape: Sequence[int], rule: str, first: int = 0) -> Array:
    """Resamples neighbouring axes, each by itself.

    Args:
        values: Any array.
        shape: New lengths of the axes `first`, `first + 1`, ...
        rule: One of `RULES`. `bicubic_offset` moves the points of an axis whose length
            stays, too, as DINO's code does as soon as any axis changes.
        first: The first axis that is resampled.

    Returns:
        float64.
    """
    matrices = [
        axis_matrix(rule, values.shape[first + axis], length)
        for axis, length in enumerate(shape)
    ]
    return along_axes(values, matrices, first)


def along_axes(values: Array, matrices: Sequence[Matrix], first: int = 0) -> Array:
    """Applies one matrix (new, old) to each of the axes `first`, `first + 1`, ..."""
    result: Array = values.astype(np.float64)
    for axis, matrix in enumerate(matrices, start=first):
        moved = np.tensordot(matrix, result, axes=(1, axis))
        result = np.moveaxis(moved, 0, axis)
    return result


def resample_positions(
    table: Array, old: Sequence[int], new: Sequence[int], rule: str
) -> Array:
    """Resamples a position table; the rows before the patches stay as they are.

    Args:
        table: (1, prefix + product of `old`, width), patches row-major.
        old: Patches along each axis.
        new: The same afterwards.
        rule: One of `RULES`.

    Returns:
        (1, prefix + product of `new`, width), float64. The table itself if the grid
        stays: no library resamples then.

    Raises:
        ValueError: If the table has fewer rows than the grid has patches.
    """
    if tuple(old) == tuple(new):
        return table
    width = table.shape[-1]
    prefix = table.shape[1] - int(np.prod(old))
    if prefix < 0:
        raise ValueError(f"{table.shape[1]} rows for a grid of {tuple(old)}")
    patches = table[0, prefix:].reshape(*old, width)
    made = resample(patches, new, rule).reshape(-1, width)
    return np.concatenate([table[0, :prefix].astype(np.float64), made])[None]


def resize_kernel(kernel: Array, patch: Sequence[int], rule: str) -> Array:
    """Resizes a patch kernel by the pseudo-inverse, as FlexiViT (arXiv 2212.08013).

    With `B` the matrix that resizes a patch, the new kernel is `pinv(B)^T w`: where
    patches become larger, it gives for a resized patch what the old one gave for the
    patch itself. `pinv` of a Kronecker product is that of its factors, so this, too,
    goes axis by axis, in 3D as in 2D.

    Args:
        kernel: (width, channels, *patch).
        patch: The new patch.
        rule: How patches are resized; one of `RULES`.

    Returns:
        (width, channels, *new patch), float64.
    """
    matrices = [
        _inverse(rule, old, new)
        for old, new in zip(kernel.shape[2:], patch, strict=True)
    ]
    return along_axes(kernel, matrices, first=2)


@lru_cache(maxsize=256)
def _inverse(rule: str, old: int, new: int) -> Matrix:
    """`pinv(B)^T`, (new, old), of one axis."""
    matrix = axis_matrix(rule, old, new)
    return np.linalg.pinv(matrix).T.astype(np.float64, copy=False)
