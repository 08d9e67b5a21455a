"""Tokens are in another order, or get other positions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converters.parity.faults.base import Fault, Inject, one_of
from converters.parity.faults.patch import Patch
from converters.parity.faults.runtime.base import PATCHES, Call, always, runtime_fault
from vit_config import ViTConfig


def _of_patches(edit: Call) -> Inject:
    """Edits (B, N, D) after the patches are taken; gets the config too."""

    def inject(patch: Patch, model: Any) -> None:
        config = model.config
        patch.wrap(model.patch_embed, "call", lambda was, x: edit(was(x), config))

    return inject


def _backwards(tokens: Any, config: ViTConfig) -> Any:
    from keras import ops

    return ops.flip(tokens, axis=1)


def _column_major(tokens: Any, config: ViTConfig) -> Any:
    from keras import ops

    grid, width = config.grid_size, config.embed_dim
    x = ops.reshape(tokens, (-1, *grid, width))
    axes = (0, *range(len(grid), 0, -1), len(grid) + 1)
    return ops.reshape(ops.transpose(x, axes), (-1, config.num_patches, width))


def _no_positions(patch: Patch, model: Any) -> None:
    patch.set(model, "pos_embed", None)


def _moved_positions(patch: Patch, model: Any) -> None:
    from keras import ops

    patch.set(model, "pos_embed", ops.roll(model.pos_embed, 1, axis=1))


def _turned_positions(patch: Patch, model: Any) -> None:
    from keras import ops

    table, config = ops.convert_to_tensor(model.pos_embed), model.config
    first = config.num_pos_tokens - config.num_patches
    rows = _column_major(table[:, first:], config)
    patch.set(model, "pos_embed", ops.concatenate([table[:, :first], rows], axis=1))


def _registers_first(patch: Patch, model: Any) -> None:
    from keras import ops

    end = model.config.num_prefix_tokens
    start = end - model.config.reg_tokens

    def moved(x: Any) -> Any:
        return ops.concatenate([x[:, start:end], x[:, :start], x[:, end:]], axis=1)

    patch.wrap(model, "_join", lambda was, x: moved(was(x)))


def _distillation_first(patch: Patch, model: Any) -> None:
    token, other = model.cls_token, model.dist_token
    patch.set(model, "cls_token", other)
    patch.set(model, "dist_token", token)


def faults() -> Iterator[Fault]:
    """Order and positions of the tokens."""
    for name, does, edit in (
        ("patches backwards", "has the patches in reverse order", _backwards),
        ("patches column-major", "counts the patches column by column", _column_major),
    ):
        fields = ("patch_size", "img_size")
        yield runtime_fault(
            "tokens", name, does, PATCHES, fields, _of_patches(edit), always
        )
    has_positions = one_of("pos_embed")
    for name, does, inject in (
        ("no positions", "adds no positions", _no_positions),
        ("positions moved", "adds the positions of the token before", _moved_positions),
        ("positions column-major", "has the grid's axes reversed", _turned_positions),
    ):
        yield runtime_fault(
            "tokens",
            name,
            does,
            ("pos_embed",),
            ("pos_embed", "pos_embed_tokens"),
            inject,
            has_positions,
        )
    yield runtime_fault(
        "tokens",
        "registers first",
        "puts the registers before the class token",
        ("cls_token", "reg_token"),
        ("reg_tokens", "class_token", "pos_embed_tokens"),
        _registers_first,
        one_of("cls_token", "reg_token"),
    )
    yield runtime_fault(
        "tokens",
        "distillation token first",
        "puts the distillation token before the class token",
        ("cls_token", "dist_token"),
        ("dist_token", "class_token", "distilled"),
        _distillation_first,
        one_of("cls_token", "dist_token"),
    )
