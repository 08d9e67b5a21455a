"""Weights for a config in which something was changed: as few others as possible."""

from __future__ import annotations

from typing import Any

import numpy as np
from einops import rearrange

from converters.mapping.pipe import Array
from converters.parity.faults.base import Model
from converters.parity.faults.bases import filled
from vit_config import ViTConfig
from vit_config.sincos import sincos_table
from vit_config.weights import Weight, axis_sizes, weight_table


def refit(model: Model, **changes: Any) -> Model:
    """The model under a changed config, valid again.

    A weight of the same shape keeps its values, one of the same size its memory. Of
    others the common part stays, axis by axis; the rest, and what is new, is filled.
    Rows of the position table stay with their tokens.

    Raises:
        ConfigError: If the changed config describes no model.
    """
    config = model.config.replace(**changes)
    before = {weight.name: weight for weight in model.weights()}
    tensors = {}
    for weight in weight_table(config):
        old = before.get(weight.name)
        if old is None:
            values = filled(config, weight.name, weight.shape)
        elif weight.name == "pos_embed":
            values = _positions(model, config)
        else:
            values = _fitted(model.tensors[weight.name], old, weight, model, config)
        tensors[weight.name] = np.ascontiguousarray(values)
    if config.qkv_bias == "qv":
        for name in (name for name in tensors if name.endswith(".attn.qkv.bias")):
            q, k, v = np.split(tensors[name], 3)
            tensors[name] = np.concatenate([q, np.zeros_like(k), v])
    return Model(config, tensors)


def _fitted(
    values: Array, old: Weight, new: Weight, model: Model, config: ViTConfig
) -> Array:
    if old.rule.torch_axes != new.rule.torch_axes:  # convolution or linear patches
        pattern = "d c ... -> d (... c)"
        if len(old.shape) == 2:
            sizes = {"c": config.in_chans}
            patch = " ".join(f"p{i}" for i in range(config.spatial_dims))
            sizes |= {f"p{i}": n for i, n in enumerate(config.patch_size)}
            return rearrange(values, f"d ({patch} c) -> d c {patch}", **sizes)
        return rearrange(values, pattern)
    if old.shape == new.shape or values.size == np.prod(new.shape):
        return values.reshape(new.shape)
    axes = new.rule.torch_axes
    single = axes.replace("(", "").replace(")", "")
    taken = rearrange(values, f"{axes} -> {single}", **_sizes(axes, model.config))
    made = filled(config, new.name, new.shape)
    made = rearrange(made, f"{axes} -> {single}", **_sizes(axes, config)).copy()
    common = tuple(
        slice(min(a, b)) for a, b in zip(taken.shape, made.shape, strict=True)
    )
    made[common] = taken[common]
    back: Array = rearrange(made, f"{single} -> {axes}", **_sizes(axes, config))
    return back


def _sizes(axes: str, config: ViTConfig) -> dict[str, int]:
    symbols = axes.replace("(", " ").replace(")", " ").split()
    sizes = axis_sizes(config)
    return {s: n for s in symbols if isinstance(n := sizes.get(s), int)}


def _positions(model: Model, config: ViTConfig) -> Array:
    if config.pos_embed == "sincos" and model.config.pos_embed != "sincos":
        return sincos_table(config)
    table = model.tensors["pos_embed"][0]
    rows = dict(zip(tokens_with_position(model.config), table, strict=True))
    shape = (1, config.num_pos_tokens, config.embed_dim)
    made = filled(config, "pos_embed", shape)[0].copy()
    for i, token in enumerate(tokens_with_position(config)):
        if token in rows:
            width = min(len(rows[token]), config.embed_dim)
            made[i, :width] = rows[token][:width]
    whole: Array = made[None]
    return whole


def tokens_with_position(config: ViTConfig) -> list[str]:
    """A name for each row of the position table."""
    prefix = ["class"] * config.class_token
    if config.pos_embed_tokens == "all":
        prefix += ["distillation"] * config.dist_token
        prefix += [f"register {i}" for i in range(config.reg_tokens)]
    if config.pos_embed_tokens == "patch":
        prefix = []
    return [*prefix, *(f"patch {i}" for i in range(config.num_patches))]
