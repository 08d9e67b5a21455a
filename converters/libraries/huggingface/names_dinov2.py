"""Hugging Face's Dinov2 and Dinov2WithRegisters, in files and in memory.

In files the gated MLP is `weights_in` (gate and up in one) and `weights_out`, in memory
three projections. A `mask_token` is always there; only pre-training reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries import demands, doubts
from converters.libraries.assumptions import Assumption
from converters.libraries.huggingface.names_vit import (
    HEAD,
    PATCHES,
    POSITIONS,
    UNPOOLED,
    Modules,
    assumed,
    embeddings,
    in_memory,
    on_disk,
)
from converters.libraries.variant import Fill, Shapes, Variant, Wrapper, renamed
from converters.mapping.table import Condition, Row, Table
from vit_config import ViTConfig

LIBRARY = "Hugging Face's Dinov2"
_MASK = "token for masked patches, read in pre-training only"
_WINDOWS = Assumption(
    "all tokens, no cap", "asked", "RF-DETR's backbone has these names and windows"
)


def _gated(config: ViTConfig) -> bool:
    return config.mlp_layer == "swiglu"


def _plain(config: ViTConfig) -> bool:
    return config.mlp_layer == "mlp"


def _layer(
    theirs: tuple[str, ...], ours: str, rows: str, inp: str, when: Condition
) -> list[Row]:
    """A linear layer, of several parts or of one."""
    left = rows.strip("()") if len(theirs) > 1 else rows
    weights, biases = (
        tuple(f"{name}.{leaf}" for name in theirs) for leaf in ("weight", "bias")
    )
    return [
        Row(weights, (f"{ours}.weight",), f"{left} {inp} -> {rows} {inp}", when),
        Row(biases, (f"{ours}.bias",), f"{left} -> {rows}", when),
    ]


def _mlp(block: str, fc1: tuple[str, ...], fc2: str) -> list[Row]:
    """Either the plain MLP or the gated one, whose names differ."""
    mlp, ours = f"{block}.mlp", "blocks.{i}.mlp"
    gates = tuple(f"{mlp}.{name}" for name in fc1)
    return [
        *_layer((f"{mlp}.fc1",), f"{ours}.fc1", "(g m)", "d", _plain),
        *_layer(gates, f"{ours}.fc1", "(g m)", "d", _gated),
        *_layer((f"{mlp}.fc2",), f"{ours}.fc2", "d", "m", _plain),
        *_layer((f"{mlp}.{fc2}",), f"{ours}.fc2", "d", "m", _gated),
    ]


def _table(name: str, prefix: str, head: Modules, memory: bool) -> Table:
    block = f"{prefix}encoder.layer.{{i}}"
    body = in_memory(block) if memory else on_disk(block)
    for mlp in ("blocks.{i}.mlp.fc1", "blocks.{i}.mlp.fc2"):
        del body[mlp]
    names: Modules = {
        **embeddings(prefix),
        **body,
        **head,
        "reg_token": f"{prefix}embeddings.register_tokens",
        "blocks.{i}.norm1": f"{block}.norm1",
        "blocks.{i}.ls1.gamma": f"{block}.layer_scale1.lambda1",
        "blocks.{i}.norm2": f"{block}.norm2",
        "blocks.{i}.ls2.gamma": f"{block}.layer_scale2.lambda1",
    }
    del names["dist_token"]
    fc1 = ("gate_proj", "up_proj") if memory else ("weights_in",)
    fc2 = "down_proj" if memory else "weights_out"
    return Table(name, renamed(names, _mlp(block, fc1, fc2)))


_WRAPPERS = tuple(
    Wrapper(f"{name}.", "classifier", "token_avg")
    for name in ("dinov2", "dinov2_with_registers")
)


def _variant(name: str, prefix: str, registers: bool | None, memory: bool) -> Variant:
    headed = bool(prefix)
    mask = f"{prefix}embeddings.mask_token"
    first = f"{prefix}encoder.layer.0"
    inner = "attention.q_proj" if memory else "attention.attention.query"
    signature = {
        f"{prefix}{POSITIONS}",
        f"{prefix}{PATCHES}.weight",
        f"{first}.{inner}.weight",
        f"{first}.layer_scale1.lambda1",
    }
    pool = "token_avg" if headed else "none"

    def says(shapes: Shapes) -> Mapping[str, Any]:
        reg = f"{prefix}embeddings.register_tokens" in shapes
        gated = f"{first}.mlp.fc1.weight" not in shapes
        found = {
            "pos_embed_tokens": "cls" if reg else "all",
            "pos_resize": "bicubic_aa" if reg else "bicubic",
            "distilled": False,
            "representation_size": None,
            "global_pool": pool,
            "pool_include_prefix": False,
        }
        return {**found, **({"act_layer": "silu"} if gated else {})}

    def holds(config: ViTConfig) -> list[str]:
        lines = []
        if config.init_values is None:
            lines.append(f"init_values: None; {LIBRARY} always has layer scale")
        if registers is not None and bool(config.reg_tokens) != registers:
            lines.append(f"reg_tokens: {config.reg_tokens}; another variant has them")
        if config.pos_embed == "none":
            lines.append(f"pos_embed: 'none'; {LIBRARY} always adds a table")
        elif config.num_pos_tokens != config.num_patches + 1:
            lines.append("pos_embed_tokens: here class token and patches have one")
        if headed != bool(config.num_classes):
            lines.append("num_classes: only a model with a head has a prefix")
        return lines

    return Variant(
        f"huggingface@{name}",
        _table(name, prefix, HEAD if headed else {}, memory),
        frozenset({*signature, *({"classifier.weight"} if headed else ())}),
        says=says,
        drops=lambda config: {mask: _MASK},
        fills=lambda config: {mask: Fill((1, config.embed_dim))},
        wrappers=() if headed else _WRAPPERS,
        holds=demands.both(
            demands.spatial(LIBRARY, 2),
            demands.holds(
                LIBRARY,
                demands.PLAIN,
                class_token=True,
                qkv_bias=(True, False),
                mlp_layer=("mlp", "swiglu"),
                init_values=...,
                reg_tokens=...,
            ),
            demands.own_head_dim(LIBRARY),
            demands.pooled_by(LIBRARY, "token_avg", "none"),
            holds,
        ),
        assumes=assumed(
            "class token and mean of the patches" if headed else UNPOOLED,
            attention=None if headed else _WINDOWS,
        ),
        doubts=doubts.nothing if headed else doubts.of_dinov2,
    )


VARIANTS: tuple[Variant, ...] = tuple(
    _variant(f"{name}{'+memory' if memory else ''}", prefix, registers, memory)
    for name, prefix, registers in (
        ("dinov2", "dinov2.", False),
        ("dinov2-registers", "dinov2_with_registers.", True),
        ("dinov2-bare", "", None),
    )
    for memory in (False, True)
)
