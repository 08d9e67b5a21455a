"""Norms, linear layers, activations and residuals that are not what they should be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from converters.mapping.pipe import Array
from converters.parity.reasons.common import Reason, Step, Tried

EPSILONS = (1e-3, 1e-5, 1e-6, 1e-12, 1e-7, 1e-8)
_OPTIONAL = {"norm": "final_norm", "norm_pre": "pre_norm", "fc_norm": "fc_norm"}
_BIASES = {
    "attn.qkv": "qkv_bias",
    "attn.proj": "proj_bias",
    "mlp.fc1": "mlp_bias",
    "mlp.fc2": "mlp_bias",
}
_ERF = np.vectorize(math.erf, otypes=[np.float64])


def norm(step: Step) -> Iterator[Tried]:
    """Other epsilons, the usual ones and the one that fits best; no norm at all."""
    config, name, x = step.config, step.tap, step.x
    last = name.rpartition(".")[2]
    head = last == "fc_norm"
    field = "fc_norm_eps" if head and config.fc_norm_eps is not None else "norm_eps"
    own = config.head_norm_eps if head else config.norm_eps
    yield None, step.layer_norm(name, x, own)
    for eps in dict.fromkeys((*EPSILONS, *_fitted(step))):
        if eps != own:
            reason = Reason(f"{field} = {eps:g}", (field,))
            yield reason, step.layer_norm(name, x, eps)
    tensors = step.named(f"{name}.*")
    if last in _OPTIONAL:
        yield Reason(f"no {last}", (_OPTIONAL[last],)), x
    else:
        yield Reason("no norm", tensors=tensors), x
    plain = step.layer_norm(name, x, own) - step.weight(f"{name}.bias")
    yield Reason("a norm without its bias", tensors=(f"{name}.bias",)), plain
    plain = plain / step.weight(f"{name}.weight")
    yield Reason("a norm without weight and bias", tensors=tensors), plain


def _fitted(step: Step) -> Iterator[float]:
    """The epsilon that the result speaks of, to three digits."""
    gain, bias = (step.weight(f"{step.tap}.{kind}") for kind in ("weight", "bias"))
    centred = step.x - step.x.mean(-1, keepdims=True)
    normed = (step.given - bias) / gain
    with np.errstate(all="ignore"):
        scale = np.sum(centred * normed, -1) / np.sum(centred**2, -1)
        found = np.median(scale**-2 - np.mean(centred**2, -1))
    if np.isfinite(found) and found > 0:
        yield float(f"{found:.3g}")


def linear(step: Step) -> Iterator[Tried]:
    """No bias; a square matrix the other way round."""
    name, x = step.tap, step.x
    yield None, step.linear(name, x)
    field = _BIASES[name.split(".", 2)[2]]
    if step.has(f"{name}.bias"):
        yield Reason("no bias", (field,)), step.linear(name, x, bias=False)
    kernel = step.weight(f"{name}.weight")
    if kernel.shape[0] == kernel.shape[1]:
        turned = step.linear(name, x) + x @ (kernel - kernel.T)
        yield Reason("the matrix transposed", tensors=(f"{name}.weight",)), turned


def act(step: Step) -> Iterator[Tried]:
    """Other activations; of a gated MLP also gate and input exchanged."""
    own, x = step.config.act_layer, step.x
    if step.config.mlp_layer == "mlp":
        for name, function in ACTIVATIONS.items():
            reason = Reason(f"act_layer = {name!r}", ("act_layer",))
            yield None if name == own else reason, function(x)
        yield Reason("no activation", ("act_layer",)), x
        return
    gate, up = np.split(x, 2, axis=-1)
    for name, function in ACTIVATIONS.items():
        reason = Reason(f"act_layer = {name!r} of the gate", ("act_layer",))
        yield None if name == own else reason, function(gate) * up
    exchanged = Reason(
        "the gate and what it gates exchanged",
        tensors=step.named(f"{step.block}.mlp.fc1.*"),
    )
    yield exchanged, ACTIVATIONS[own](up) * gate


def residual(step: Step) -> Iterator[Tried]:
    """One of both summands alone; a branch of which dropout took a part."""
    around, branch = step.sources
    part = "attn" if step.tap.endswith("1") else "mlp"
    scale = f"{step.block}.ls{step.tap[-1]}.gamma"
    tensors = step.named(f"{step.block}.{part}.*", scale)
    yield None, around + branch
    alone = f"the branch alone: the way around {step.block}.{part} left out"
    yield Reason(alone, tensors=tensors), branch
    yield Reason(f"no {step.block}.{part}", tensors=tensors), around
    fields = drop_rates(step, "proj_drop_rate", "drop_path_rate")
    if fields:
        took = step.given - around
        kept = np.where(np.abs(took) < 1e-6 * np.abs(branch).max(), 0, took)
        ratio = np.median(kept[kept != 0] / branch[kept != 0]) if kept.any() else 0
        dropped = around + np.where(kept == 0, 0, branch * ratio)
        if (kept == 0).mean() > 0.5 / kept.size and ratio > 1.001:
            yield Reason("dropout left on", fields), dropped


def drop_rates(step: Step, *names: str) -> tuple[str, ...]:
    """Those rates of dropout that are not 0."""
    return tuple(name for name in names if getattr(step.config, name))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lambda x: 0.5 * x * (1 + _ERF(x / math.sqrt(2))),
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
}
"""By their definitions (Hendrycks and Gimpel, 2016; Elfwing et al., 2018)."""
