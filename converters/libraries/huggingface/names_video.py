"""Hugging Face's VideoMAE, in files and in memory.

Keys have no bias; in files the other two are vectors beside the projections, where
there are any. The positions are a sine-cosine table that every model computes: no file
has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.errors import refusal
from converters.libraries import demands, positions
from converters.libraries.huggingface.names_vit import (
    PATCHES,
    UNPOOLED,
    Modules,
    assumed,
    on_disk,
)
from converters.libraries.variant import Shapes, Variant, renamed
from converters.mapping.table import ZERO, Row, Table
from vit_config import ViTConfig

LIBRARY = "Hugging Face's VideoMAE"
_DECODER = "decoder of the pre-training: only the encoder is taken"
_BESIDE = {"decoder.": _DECODER, "encoder_to_decoder.": _DECODER}


def _query_and_value(config: ViTConfig) -> bool:
    return config.qkv_bias == "qv"


MEMORY, UNBIASED = "+memory", "+unbiased"


def _table(name: str, prefix: str, headed: bool, memory: bool) -> Table:
    block = f"{prefix}encoder.layer.{{i}}"
    inner = f"{block}.attention.attention"
    body = on_disk(block)
    del body["blocks.{i}.attn.qkv"]
    words = ("query", "key", "value")
    names: Modules = {
        **body,
        "patch_embed.proj": f"{prefix}{PATCHES}",
        "blocks.{i}.attn.qkv.weight": tuple(f"{inner}.{w}.weight" for w in words),
        "norm": f"{prefix}layernorm",
    }
    if headed:
        names |= {"fc_norm": "fc_norm", "head": "classifier"}
    query, value = ("query.bias", "value.bias") if memory else ("q_bias", "v_bias")
    biases = f"{inner}.{query}", ZERO, f"{inner}.{value}"
    qkv = Row(
        biases, ("blocks.{i}.attn.qkv.bias",), "s (h e) -> (s h e)", _query_and_value
    )
    return Table(name, renamed(names, (qkv,)))


def _variant(name: str, prefix: str, kind: str) -> Variant:
    headed, memory = bool(prefix), kind == MEMORY
    name = f"{name}{kind}"
    attention = f"{prefix}encoder.layer.0.attention.attention"
    in_files, in_memory = f"{attention}.q_bias", f"{attention}.query.bias"
    bias = in_memory if memory else in_files
    biased = kind != UNBIASED

    def says(shapes: Shapes) -> Mapping[str, Any]:
        if headed and "fc_norm.weight" not in shapes:
            raise refusal(
                "a VideoMAE classifier without mean pooling reads the first patch "
                "alone",
                hint="No model of this library does that.",
                kind="config",
            )
        found = {
            "spatial_dims": 3,
            "class_token": False,
            "pos_embed": "sincos",
            "pos_embed_tokens": "all",
            "qkv_bias": "qv" if biased else False,
            "distilled": False,
            "representation_size": None,
        }
        if headed:
            return {**found, "global_pool": "avg", "fc_norm_eps": 1e-5}
        return {**found, "global_pool": "none"}

    return Variant(
        f"huggingface@{name}",
        _table(name, prefix, headed, memory),
        frozenset(
            {
                f"{prefix}{PATCHES}.weight",
                f"{attention}.query.weight",
                *({bias} if biased else ()),
                *({"classifier.weight"} if headed else ()),
            }
        ),
        frozenset(
            {
                f"{prefix}embeddings.cls_token",
                f"{prefix}embeddings.position_embeddings",
                f"{attention}.key.bias",
                *({in_files, in_memory} - ({bias} if biased else set())),
            }
        ),
        says=says,
        computed=positions.VIDEOMAE,
        holds=demands.both(
            demands.spatial(LIBRARY, 3),
            demands.holds(
                LIBRARY,
                demands.PLAIN,
                class_token=False,
                qkv_bias=("qv",) if biased else (False,),
                pos_embed="sincos",
                final_norm=False if headed else ...,
                fc_norm=headed,
            ),
            demands.own_head_dim(LIBRARY),
            demands.pooled_by(LIBRARY, "avg", "none"),
            lambda config: (
                [f"fc_norm_eps: {config.fc_norm_eps}; here always 1e-05"]
                if config.fc_norm and config.fc_norm_eps != 1e-5
                else []
            ),
        ),
        around={} if headed else {**_BESIDE, "mask_token": _DECODER},
        assumes=assumed("mean of the patches" if headed else UNPOOLED),
    )


VARIANTS: tuple[Variant, ...] = tuple(
    _variant(name, prefix, kind)
    for name, prefix in (("videomae", "videomae."), ("videomae-bare", ""))
    for kind in ("", MEMORY, UNBIASED)
)
