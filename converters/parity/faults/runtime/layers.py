"""A layer computes something else: its epsilon, its scores, its activation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converters.parity.faults.base import Fault, one_of
from converters.parity.faults.patch import Patch
from converters.parity.faults.runtime.base import BLOCK, Call, always, runtime_fault
from vit_config import ViTConfig

NORMS = (f"blocks.{BLOCK}.norm1", f"blocks.{BLOCK}.norm2", "norm", "fc_norm")
EPSILONS = (1e-3, 1e-5, 1e-6, 1e-12)


def _layer(model: Any, name: str) -> Any:
    from keras_vit.guard import layer_at

    path = name.replace("blocks.", "blocks_", 1).replace(".", "/")
    return layer_at(model, path)


def _epsilon(layer: str, value: float) -> Fault:
    field = "fc_norm_eps" if layer == "fc_norm" else "norm_eps"

    def inject(patch: Patch, model: Any) -> None:
        patch.set(_layer(model, layer), "epsilon", value)

    def applies(config: ViTConfig) -> bool:
        own = config.head_norm_eps if layer == "fc_norm" else config.norm_eps
        return one_of(f"{layer}.weight")(config) and own != value

    return runtime_fault(
        "epsilon",
        f"epsilon {value:g}/{layer}",
        f"computes {layer} with an epsilon of {value:g}",
        (f"{layer}.*",),
        (field,) if layer != "fc_norm" else (field, "norm_eps"),
        inject,
        applies,
    )


def _scale(factor: float) -> Fault:
    """Queries times the factor, as every way to compute attention has them."""

    def inject(patch: Patch, model: Any) -> None:
        def split_heads(was: Call, qkv: Any) -> Any:
            q, k, v = was(qkv)
            return q * factor, k, v

        patch.wrap(model.blocks[BLOCK].attn, "split_heads", split_heads)

    return runtime_fault(
        "attention",
        f"softmax scale x{factor:g}",
        f"multiplies the scores of block {BLOCK} by {factor:g} before the softmax",
        (f"blocks.{BLOCK}.attn.qkv.*",),
        ("head_dim", "num_heads"),
        inject,
        always,
    )


def _no_scale(patch: Patch, model: Any) -> None:
    attn = model.blocks[BLOCK].attn

    def split_heads(was: Call, qkv: Any) -> Any:
        q, k, v = was(qkv)
        return q * attn.head_dim**0.5, k, v

    patch.wrap(attn, "split_heads", split_heads)


def _k_for_q(patch: Patch, model: Any) -> None:
    def split_heads(was: Call, qkv: Any) -> Any:
        q, k, v = was(qkv)
        return k, q, v

    patch.wrap(model.blocks[BLOCK].attn, "split_heads", split_heads)


def _head_order(patch: Patch, model: Any) -> None:
    from keras import ops

    def split_heads(was: Call, qkv: Any) -> Any:
        q, k, v = was(qkv)
        return q, k, ops.flip(v, axis=2)

    patch.wrap(model.blocks[BLOCK].attn, "split_heads", split_heads)


def _activation(name: str) -> Fault:
    def inject(patch: Patch, model: Any) -> None:
        from keras_vit.activations import ACTIVATIONS

        patch.set(model.blocks[BLOCK].mlp, "act", ACTIVATIONS[name])

    return runtime_fault(
        "activation",
        f"{name} in one block",
        f"computes {name} in block {BLOCK}",
        (),
        ("act_layer",),
        inject,
        lambda config: config.act_layer not in (name, "silu"),
    )


def _gate(patch: Patch, model: Any) -> None:
    from keras_vit.activations import ACTIVATIONS

    patch.set(model.blocks[BLOCK].mlp, "act", ACTIVATIONS["gelu"])


def faults() -> Iterator[Fault]:
    """Epsilons, attention and activations."""
    for layer in NORMS:
        for value in EPSILONS:
            yield _epsilon(layer, value)
    for factor in (0.5, 1.01):
        yield _scale(factor)
    qkv = (f"blocks.{BLOCK}.attn.qkv.*",)
    for name, does, inject in (
        ("no softmax scale", "does not scale the scores", _no_scale),
        ("k for q", "takes keys for queries", _k_for_q),
        ("heads of v", "reverses the heads of v", _head_order),
    ):
        yield runtime_fault(
            "attention",
            name,
            f"{does} in block {BLOCK}",
            qkv,
            ("head_dim", "num_heads"),
            inject,
            always,
        )
    for act in ("gelu_tanh", "quick_gelu", "relu"):
        yield _activation(act)
    yield runtime_fault(
        "activation",
        "gelu as gate",
        f"gates with GELU in block {BLOCK}",
        (),
        ("act_layer", "mlp_layer"),
        _gate,
        lambda config: config.mlp_layer == "swiglu",
    )
