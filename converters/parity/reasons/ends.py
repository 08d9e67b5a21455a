"""Pooling and head that do something else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from converters.mapping.pipe import Array
from converters.parity.reasons.block import ACTIVATIONS
from converters.parity.reasons.common import Reason, Step, Tried


def pool(step: Step) -> Iterator[Tried]:
    """Another way to pool, or over other tokens."""
    config, x = step.config, step.x
    own, prefix = config.global_pool, config.pool_include_prefix
    if own == "map":
        for include in (prefix, not prefix):
            field = ("pool_include_prefix",)
            reason = None if include == prefix else Reason(_said(own, include), field)
            yield reason, _attended(step, x, include)
    for kind in ("token", "avg", "max", "token_avg"):
        for include in (False, True) if kind != "token" else (prefix,):
            fields = []
            if kind != own:
                fields.append("global_pool")
            if include != prefix:
                fields.append("pool_include_prefix")
            reason = Reason(_said(kind, include), tuple(fields)) if fields else None
            yield reason, _pooled(step, x, kind, include)
    if config.distilled:
        for i, name in enumerate(("class token", "distillation token")):
            found = np.stack([x[:, i], x[:, i]], axis=1)
            yield Reason(f"the {name} twice", ("distilled",)), found
        swapped = x[:, 1::-1]
        yield Reason("class and distillation token exchanged", ("distilled",)), swapped


def _pooled(step: Step, x: Array, kind: str, include: bool) -> Array:
    config = step.config
    rest = x if include else x[:, config.num_prefix_tokens :]
    if kind == "token":
        found: Array = x[:, :2] if config.distilled else x[:, 0]
    elif kind == "max":
        found = rest.max(axis=1)
    else:
        found = rest.mean(axis=1)
        if kind == "token_avg":
            found = np.concatenate([x[:, 0], found], axis=-1)
    return found


def _attended(step: Step, x: Array, include: bool) -> Array:
    """One learned query, then a residual MLP (timm 1.0.31, `AttentionPoolLatent`)."""
    config, name = step.config, "attn_pool"
    rest = x if include else x[:, config.num_prefix_tokens :]
    count, width = config.num_heads, config.embed_dim // config.num_heads
    q = step.linear(f"{name}.q", step.weight(f"{name}.latent")[0])
    kv = step.linear(f"{name}.kv", rest)
    k, v = np.moveaxis(kv.reshape(*rest.shape[:2], 2, count, width), 2, 0)
    scores = np.einsum("he,bnhe->bhn", q.reshape(count, width), k) / np.sqrt(width)
    maps = np.exp(scores - scores.max(-1, keepdims=True))
    maps /= maps.sum(-1, keepdims=True)
    found = np.einsum("bhn,bnhe->bhe", maps, v).reshape(len(rest), -1)
    found = step.linear(f"{name}.proj", found)
    inner = step.layer_norm(f"{name}.norm", found, config.norm_eps)
    inner = ACTIVATIONS[config.act_layer](step.linear(f"{name}.mlp.fc1", inner))
    summed: Array = found + step.linear(f"{name}.mlp.fc2", inner)
    return summed


def _said(kind: str, include: bool) -> str:
    over = "" if kind == "token" else f" over {'all tokens' if include else 'patches'}"
    return f"global_pool = {kind!r}{over}"


def pre_logits(step: Step) -> Iterator[Tried]:
    """No tanh."""
    before = step.linear("pre_logits", step.x)
    yield None, np.tanh(before)
    yield Reason("no tanh", ("representation_size",)), before


def head(step: Step) -> Iterator[Tried]:
    """Another activation; of two heads one twice, or exchanged; no bias."""
    config, x = step.config, step.x
    tanh = config.head_act == "tanh"

    def ended(y: Array, act: bool = tanh) -> Array:
        return np.tanh(y) if act else y

    if not config.distilled:
        before = step.linear("head", x)
        yield None, ended(before)
        words = "no tanh" if tanh else "a tanh"
        yield Reason(f"{words} after the head", ("head_act",)), ended(before, not tanh)
        if step.has("head.bias"):
            plain = step.linear("head", x, bias=False)
            yield Reason("no bias", ("head_bias",)), ended(plain)
        return
    names = ("head", "head_dist")
    for one in names:
        for other in names:
            both = (step.linear(one, x[:, 0]) + step.linear(other, x[:, 1])) / 2
            words = f"{one} and {other} on class and distillation token"
            right = (one, other) == names
            yield None if right else Reason(words, ("distilled",)), ended(both)
    for i, name in enumerate(names):
        yield Reason(f"{name} alone", ("distilled",)), ended(step.linear(name, x[:, i]))
