"""Patches and positions that are not where they should be."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations

import numpy as np

from converters.mapping.pipe import Array
from converters.parity.reasons.common import Reason, Step, Tried

KERNEL = "patch_embed.proj.weight"
_SPACE = ("data.axes", "data.orientation")
_SAME = 1e-4
"""Part of a token's size by which it may be off and is still the right one."""


def patches(step: Step) -> Iterator[Tried]:
    """Axes of the input turned round or exchanged, channels reversed, patches moved."""
    x, config = step.x, step.config
    right = _embedded(step, x)
    yield None, right
    axes = range(config.spatial_dims)
    for count in range(1, config.spatial_dims + 1):
        for some in combinations(axes, count):
            turned = np.flip(x, tuple(axis + 2 for axis in some))
            words = f"an input turned round along {_listed(some)}"
            yield Reason(words, _SPACE), _embedded(step, turned)
    for order in permutations(axes):
        if order != tuple(axes):
            moved = x.transpose(0, 1, *(axis + 2 for axis in order))
            if moved.shape == x.shape:
                words = f"an input with its axes in the order {_listed(order)}"
                yield Reason(words, _SPACE), _embedded(step, moved)
    if config.in_chans > 1:
        found = Reason("an input with its channels in reverse order", tensors=(KERNEL,))
        yield found, _embedded(step, x[:, ::-1])
    fields = ("img_size", "patch_size")
    yield Reason("patches in reverse order", fields), right[:, ::-1]
    grid = right.reshape(len(right), *config.grid_size, -1)
    last = grid.ndim - 1
    for order in permutations(range(1, last)):
        if order != tuple(range(1, last)):
            moved = grid.transpose(0, *order, last).reshape(right.shape)
            yield Reason("patches counted along another axis first", fields), moved
    if step.has("patch_embed.proj.bias"):
        yield Reason("no bias", ("patch_bias",)), _embedded(step, x, bias=False)
    if config.patch_norm != "none":
        yield (
            Reason("no norm of patches", ("patch_norm",)),
            _embedded(step, x, norm=False),
        )


def _embedded(step: Step, x: Array, bias: bool = True, norm: bool = True) -> Array:
    """(B, C, *spatial) -> (B, N, D), N row-major over the grid."""
    config = step.config
    grid, patch = config.grid_size, config.patch_size
    batch, chans = x.shape[:2]
    split = [n for pair in zip(grid, patch, strict=True) for n in pair]
    axes = range(2, 2 + len(split))
    x = x.reshape(batch, chans, *split)
    count = int(np.prod(grid))
    if config.patch_norm == "dual":
        flat = x.transpose(0, *axes[0::2], *axes[1::2], 1).reshape(batch, count, -1)
        flat = step.layer_norm("patch_embed.norm_pre", flat, config.norm_eps)
    else:
        flat = x.transpose(0, *axes[0::2], 1, *axes[1::2]).reshape(batch, count, -1)
    found = step.linear("patch_embed.proj", flat, bias)
    if norm and config.patch_norm != "none":
        found = step.layer_norm("patch_embed.norm", found, config.norm_eps)
    return found


def joined(step: Step) -> Iterator[Tried]:
    """No positions, or other ones; tokens in the place of others."""
    config, x = step.config, step.x
    right = _joined(step, x, positions=True)
    yield None, right
    if step.has("pos_embed"):
        yield Reason("no positions", tensors=("pos_embed",)), _joined(step, x, False)
    if step.given.shape != right.shape:
        return
    prefix = config.num_prefix_tokens
    off = np.abs(step.given - right).max(axis=(0, 2)) > _SAME * np.abs(right).max()
    if off[prefix:].any() and step.has("pos_embed"):
        words = "other positions than those of these tokens"
        moved = _moved(step, x, right)
        if moved is not None:
            yield Reason(words, tensors=("pos_embed",)), moved
    elif off.any() and not off[prefix:].any():
        owners = _owners(step)
        wrong = tuple(dict.fromkeys(owners[i] for i in np.flatnonzero(off)))
        yield Reason("other tokens before the patches", tensors=wrong), step.given


def _joined(step: Step, x: Array, positions: bool) -> Array:
    """Puts the prefix tokens before the patches and adds the positions."""
    config, batch = step.config, len(x)
    names = [
        name for name in ("cls_token", "dist_token", "reg_token") if step.has(name)
    ]
    tokens = [
        np.broadcast_to(step.weight(n), (batch, *step.weight(n).shape[1:]))
        for n in names
    ]
    count = {"all": len(tokens), "cls": 1, "patch": 0}[config.pos_embed_tokens]
    covered, rest = tokens[:count], tokens[count:]
    found = np.concatenate([*covered, x], axis=1)
    if positions and step.has("pos_embed"):
        found = found + step.weight("pos_embed")
    end = sum(token.shape[1] for token in covered)
    return np.concatenate([found[:, :end], *rest, found[:, end:]], axis=1)


def _moved(step: Step, x: Array, right: Array) -> Array | None:
    """What was added, if it is the same for every input and from the table's rows."""
    added = step.given - _joined(step, x, positions=False)
    table = step.weight("pos_embed")[0]
    rows = added.mean(axis=0)
    if np.abs(added - rows).max() > _SAME * np.abs(right).max():
        return None
    found = _joined(step, x, positions=False)
    size = np.abs(table).max()
    for i in range(step.config.num_prefix_tokens, len(rows)):
        distances = np.abs(table - rows[i]).max(axis=1)
        nearest = int(np.argmin(distances))
        if distances[nearest] > _SAME * size:
            return None
        found[:, i] += table[nearest]
    prefix = step.config.num_prefix_tokens
    found[:, :prefix] = step.given[:, :prefix]
    return found


def _owners(step: Step) -> list[str]:
    """Which weight each token before the patches is."""
    found = []
    for name in ("cls_token", "dist_token", "reg_token"):
        if step.has(name):
            found += [name] * step.weight(name).shape[1]
    return found


def _listed(axes: tuple[int, ...]) -> str:
    return ", ".join(str(axis) for axis in axes)
