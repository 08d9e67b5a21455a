"""Space taken wrongly: grid of positions, axes of the patch kernel, channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
from einops import rearrange

from converters.mapping.pipe import Array
from converters.parity.faults.base import Condition, Fault, Model
from vit_config import ViTConfig

Edit = Callable[[Array], Array]
KERNEL = "patch_embed.proj.weight"


def _fault(
    name: str,
    does: str,
    tensor: str,
    change: Callable[[Model], Array],
    applies: Condition,
) -> Fault:
    return Fault(
        "file",
        "geometry",
        f"geometry/{name}",
        does,
        (tensor,),
        (),
        applies,
        lambda model: model.with_tensors({tensor: change(model)}),
    )


# ---- positions --------------------------------------------------------------------


def _on_grid(edit: Edit) -> Callable[[Model], Array]:
    """Edits the patches' positions as (*grid, D); a shape that changes is ignored."""

    def change(model: Model) -> Array:
        table, config = model.tensors["pos_embed"], model.config
        first = config.num_pos_tokens - config.num_patches
        grid = table[0, first:].reshape(*config.grid_size, -1)
        rows = edit(grid).reshape(config.num_patches, -1)
        return np.concatenate([table[:, :first], rows[None]], axis=1)

    return change


def _has_grid(*axes: int) -> Condition:
    def applies(config: ViTConfig) -> bool:
        return max(axes) < config.spatial_dims and config.num_pos_tokens > 0

    return applies


def _is_long(axis: int) -> Condition:
    """Of two, moving on by one is turning round."""

    def applies(config: ViTConfig) -> bool:
        return _has_grid(axis)(config) and config.grid_size[axis] > 2

    return applies


# ---- kernel -----------------------------------------------------------------------


def _on_kernel(edit: Edit) -> Callable[[Model], Array]:
    """Edits the kernel as (out, in, *patch), whichever layer has it."""

    def change(model: Model) -> Array:
        values, config = model.tensors[KERNEL], model.config
        if config.patch_norm != "dual":
            return edit(values).reshape(values.shape)
        axes = [f"p{i}" for i in range(config.spatial_dims)]
        patch = " ".join(axes)
        sizes = dict(zip(axes, config.patch_size, strict=True))
        kernel = rearrange(values, f"d ({patch} c) -> d c {patch}", **sizes)
        # Back in the sizes that the edit has left the axes with.
        made = edit(kernel)
        return rearrange(made, "d c ... -> d (... c)")

    return change


def _has_axes(*axes: int) -> Condition:
    return lambda config: max(axes) < config.spatial_dims


def _other_sizes(one: int, other: int) -> Condition:
    """Axes of one size in a convolution are exchanged among the faults of rules."""

    def applies(config: ViTConfig) -> bool:
        if not _has_axes(one, other)(config):
            return False
        size = config.patch_size
        return size[one] != size[other] or config.patch_norm == "dual"

    return applies


def _has_channels(config: ViTConfig) -> bool:
    return config.in_chans > 1


def _flip(axis: int) -> Edit:
    return lambda values: np.flip(values, axis)


def _swap(one: int, other: int) -> Edit:
    return lambda values: np.swapaxes(values, one, other)


def _faults() -> Iterator[Fault]:
    for one, other in combinations(range(3), 2):
        yield _fault(
            f"grid axes {one} {other}",
            f"exchanges axes {one} and {other} of the grid of positions",
            "pos_embed",
            _on_grid(_swap(one, other)),
            _has_grid(one, other),
        )
        yield _fault(
            f"kernel axes {one} {other}",
            f"exchanges axes {one} and {other} of the patch kernel",
            KERNEL,
            _on_kernel(_swap(one + 2, other + 2)),
            _other_sizes(one, other),
        )
    for axis in range(3):
        yield _fault(
            f"grid flipped {axis}",
            f"turns axis {axis} of the grid of positions round",
            "pos_embed",
            _on_grid(_flip(axis)),
            _has_grid(axis),
        )
        yield _fault(
            f"grid moved {axis}",
            f"moves the positions on by one along axis {axis}",
            "pos_embed",
            _on_grid(_moved(axis)),
            _is_long(axis),
        )
        yield _fault(
            f"kernel flipped {axis}",
            f"turns axis {axis} of the patch kernel round",
            KERNEL,
            _on_kernel(_flip(axis + 2)),
            _has_axes(axis),
        )
    yield _fault(
        "channels reversed",
        "has the input channels of the patch kernel in reverse order",
        KERNEL,
        _on_kernel(_flip(1)),
        _has_channels,
    )
    yield _fault(
        "channels averaged",
        "has the mean over the channels in each of them",
        KERNEL,
        _on_kernel(_averaged),
        _has_channels,
    )


def _moved(axis: int) -> Edit:
    return lambda values: np.roll(values, 1, axis)


def _averaged(kernel: Array) -> Array:
    return np.broadcast_to(kernel.mean(axis=1, keepdims=True), kernel.shape)


GEOMETRY: tuple[Fault, ...] = tuple(_faults())
"""All of them."""
