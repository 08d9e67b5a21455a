"""Attention that gathers something else than it should."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np

from converters.mapping.pipe import Array
from converters.parity.reasons.common import Reason, Step, Tried

_ROWS = 64
"""Queries on which the scale is fitted."""

_SECTION = (math.sqrt(5) - 1) / 2


def heads(step: Step) -> Iterator[Tried]:
    """Another scale of the scores, queries, keys, values or heads exchanged."""
    config, count = step.config, step.config.num_heads
    q, k, v = _split(step, count)
    yield None, _attended(q, k, v)
    tensors = step.named(f"{step.block}.attn.qkv.*")
    for order in permutations(range(3)):
        if order != (0, 1, 2):
            names = ", ".join("qkv"[i] for i in order)
            found = Reason(f"{names} taken for q, k, v", tensors=tensors)
            yield found, _attended(*((q, k, v)[i] for i in order))
    for i, name in enumerate("qkv"):
        turned = [x[:, :, ::-1] if j == i else x for j, x in enumerate((q, k, v))]
        found = Reason(f"the heads of {name} in reverse order", tensors=tensors)
        yield found, _attended(*turned)
    width = step.x.shape[-1] // 3
    for other in range(1, width + 1):
        if width % other == 0 and other != count and not config.qk_norm:
            found = Reason(f"num_heads = {other}", ("num_heads",))
            yield found, _attended(*_split(step, other))
    if config.qk_norm:
        plain = _attended(*_split(step, count, normed=False))
        yield Reason("no norms of queries and keys", ("qk_norm",)), plain
    factor = _fitted(step, q, k, v)
    words = f"scores multiplied by {factor:.4g} before the softmax"
    if math.isclose(factor, math.sqrt(q.shape[-1]), rel_tol=1e-3):
        words = "scores that are not scaled by the root of the head's width"
    if abs(factor - 1) > 1e-4:
        yield Reason(words, ("head_dim",)), _attended(q * factor, k, v)


def _split(step: Step, count: int, normed: bool = True) -> tuple[Array, Array, Array]:
    """(B, N, 3HE) -> q, k, v of (B, N, H, E), queries and keys normalised."""
    batch, tokens, width = step.x.shape
    q, k, v = np.moveaxis(
        step.x.reshape(batch, tokens, 3, count, width // 3 // count), 2, 0
    )
    if step.config.qk_norm and normed:
        eps, attn = step.config.norm_eps, f"{step.block}.attn"
        q = step.layer_norm(f"{attn}.q_norm", q, eps)
        k = step.layer_norm(f"{attn}.k_norm", k, eps)
    return q, k, v


def _attended(q: Array, k: Array, v: Array) -> Array:
    """softmax(q k / sqrt(E)) v (Vaswani et al., 2017): (B, N, HE)."""
    scores = np.einsum("bxhe,byhe->bhxy", q, k, optimize=True) / math.sqrt(q.shape[-1])
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    maps = scores / scores.sum(-1, keepdims=True)
    found: Array = np.einsum("bhxy,byhe->bxhe", maps, v, optimize=True)
    return found.reshape(*found.shape[:2], -1)


def _fitted(step: Step, q: Array, k: Array, v: Array) -> float:
    """The factor of the scores that explains the result best, between 1/64 and 64."""
    q, k, v = q[:1, :_ROWS], k[:1], v[:1]
    wanted = step.given[:1, :_ROWS]

    def error(log: float) -> float:
        return float(np.mean((_attended(q * math.exp(log), k, v) - wanted) ** 2))

    return math.exp(_least(error, -math.log(64), math.log(64)))


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one valley is least, by the golden section."""
    points = np.linspace(low, high, 33)
    best = int(np.argmin([function(float(point)) for point in points]))
    low, high = float(points[max(best - 1, 0)]), float(points[min(best + 1, 32)])
    while high - low > 1e-7:
        one, other = high - _SECTION * (high - low), low + _SECTION * (high - low)
        if function(one) < function(other):
            high = other
        else:
            low = one
    return (low + high) / 2
