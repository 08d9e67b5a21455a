"""Hugging Face's plain ViTs: ViT, DeiT, ViTMSN, ViTMAE, IJepa and ViViT.

One body under several names. A bare model has no prefix, a model with a head has one
(`vit.`, `deit.`, ...). Files have the names of transformers 4, which 5 still writes;
`state_dict()` of a model in memory has other ones since 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries import demands
from converters.libraries.assumptions import Assumption, Assumptions, asked, assumptions
from converters.libraries.variant import Names, Shapes, Variant, Wrapper, renamed
from converters.mapping.table import Table
from vit_config import ViTConfig

PATCHES = "embeddings.patch_embeddings.projection"
POSITIONS = "embeddings.position_embeddings"

Modules = dict[str, Names]
CODE = "transformers 4.57 and 5.23"


def assumed(pooling: Assumption | str, **more: Any) -> Assumptions:
    """What every class takes from its config, and what its code decides."""
    return assumptions(
        CODE,
        activation=asked("hidden_act of the config"),
        epsilon=asked("layer_norm_eps of the config"),
        pooling=pooling,
        **more,
    )


UNPOOLED = "none: every token"


def embeddings(prefix: str) -> Modules:
    """What stands before and after the blocks."""
    return {
        "cls_token": f"{prefix}embeddings.cls_token",
        "dist_token": f"{prefix}embeddings.distillation_token",
        "pos_embed": f"{prefix}{POSITIONS}",
        "patch_embed.proj": f"{prefix}{PATCHES}",
        "norm": f"{prefix}layernorm",
    }


def on_disk(block: str) -> Modules:
    """The blocks in files."""
    inner = f"{block}.attention.attention"
    return {
        "blocks.{i}.norm1": f"{block}.layernorm_before",
        "blocks.{i}.attn.qkv": tuple(f"{inner}.{n}" for n in ("query", "key", "value")),
        "blocks.{i}.attn.proj": f"{block}.attention.output.dense",
        "blocks.{i}.norm2": f"{block}.layernorm_after",
        "blocks.{i}.mlp.fc1": f"{block}.intermediate.dense",
        "blocks.{i}.mlp.fc2": f"{block}.output.dense",
    }


def in_memory(block: str) -> Modules:
    """The blocks in transformers 5."""
    return {
        "blocks.{i}.norm1": f"{block}.layernorm_before",
        "blocks.{i}.attn.qkv": tuple(f"{block}.attention.{n}_proj" for n in "qkv"),
        "blocks.{i}.attn.proj": f"{block}.attention.o_proj",
        "blocks.{i}.norm2": f"{block}.layernorm_after",
        "blocks.{i}.mlp.fc1": f"{block}.mlp.fc1",
        "blocks.{i}.mlp.fc2": f"{block}.mlp.fc2",
    }


LIBRARY = "Hugging Face's ViT"
HEAD: Modules = {"head": "classifier"}
TEACHER: Modules = {"head": "cls_classifier", "head_dist": "distillation_classifier"}
POOLER: Modules = {"pre_logits": "pooler.dense"}

_MASK = "token for masked patches, read in pre-training only"
_POOLER = "pooler, which neither the tokens nor the head go through"
_DECODER = {"decoder.": "decoder of the pre-training: only the encoder is taken"}

# Names of BEiT and Data2Vec, whose blocks are others, and of VideoMAE.
_OTHERS = {
    "encoder.layer.0.lambda_1",
    "encoder.layer.0.attention.attention.q_bias",
    "encoder.relative_position_bias.relative_position_bias_table",
}


def drops(prefix: str, bare: bool) -> Any:
    """What the files hold beside the model."""

    def names(config: ViTConfig) -> Mapping[str, str]:
        found = {f"{prefix}embeddings.mask_token": _MASK}
        if bare and not config.representation_size:
            found |= {f"pooler.dense.{leaf}": _POOLER for leaf in ("weight", "bias")}
        return found

    return names


_HOLDS = demands.both(
    demands.holds(
        LIBRARY, demands.PLAIN, qkv_bias=(True, False), dist_token=..., distilled=...
    ),
    demands.own_head_dim(LIBRARY),
    demands.positions_for_all(LIBRARY),
)


def _bare_holds(config: ViTConfig) -> list[str]:
    if config.num_classes:
        return ["num_classes: a model without a prefix has no head"]
    wanted = "token" if config.representation_size else "none"
    if config.global_pool != wanted:
        return [f"global_pool: {config.global_pool!r}; a model without a head: 'none'"]
    return []


def _head_holds(tokens: Mapping[str, Any], dims: int, pool: str) -> demands.Holds:
    def problems(config: ViTConfig) -> list[str]:
        if not config.num_classes:
            return ["num_classes: 0; a model without a head has no prefix"]
        return []

    return demands.both(
        _HOLDS,
        demands.holds(LIBRARY, tokens),
        demands.spatial(LIBRARY, dims),
        demands.pooled_by(LIBRARY, pool, "none"),
        problems,
    )


def _says(shapes: Shapes, prefix: str, pool: str) -> Mapping[str, Any]:
    dist = f"{prefix}embeddings.distillation_token" in shapes
    return {
        "pos_embed_tokens": "all",
        "distilled": dist and "distillation_classifier.weight" in shapes,
        "global_pool": pool,
        "pos_resize": "bicubic",
    }


_WRAPPERS = tuple(
    Wrapper(f"{name}.", "classifier", pool)
    for name, pool in (("vit", "token"), ("deit", "token"), ("ijepa", "avg"))
)


def _bare(name: str, body: Modules) -> Variant:
    """A pooler only counts where a config asks for it: few of them were trained."""
    first = _first(body)
    return Variant(
        f"huggingface@{name}",
        Table(name, renamed({**embeddings(""), **body, **POOLER})),
        frozenset({POSITIONS, f"{PATCHES}.weight", *first}),
        frozenset(_OTHERS),
        says=lambda shapes: {
            "pos_embed_tokens": "all",
            "distilled": False,
            "pos_resize": "bicubic",
            "representation_size": ...,
        },
        drops=drops("", bare=True),
        holds=demands.both(
            demands.holds(
                LIBRARY,
                demands.PLAIN,
                qkv_bias=(True, False),
                dist_token=...,
                representation_size=...,
            ),
            demands.own_head_dim(LIBRARY),
            demands.positions_for_all(LIBRARY),
            _bare_holds,
        ),
        around=_DECODER,
        wrappers=_WRAPPERS,
        assumes=assumed(asked("a model without a head gives every token")),
    )


def _first(body: Modules) -> set[str]:
    """Query weight and first norm of block 0, which tell the generations apart."""
    query, norm = body["blocks.{i}.attn.qkv"], body["blocks.{i}.norm1"]
    names = (query[0] if query else "", norm)
    return {f"{name}.weight".replace("{i}", "0") for name in names}


def _headed(
    name: str,
    prefix: str,
    body: Modules,
    head: Modules,
    tokens: Mapping[str, Any],
    dims: int = 2,
    pool: str = "token",
    export: bool = True,
) -> Variant:
    modules = {**embeddings(prefix), **body, **head}
    heads = {f"{theirs}.weight" for theirs in head.values()}
    return Variant(
        f"huggingface@{name}",
        Table(name, renamed(modules)),
        # All of the bare model's and the head: the more precise of the two.
        frozenset(
            {
                f"{prefix}{POSITIONS}",
                f"{prefix}{PATCHES}.weight",
                *_first(body),
                *heads,
            }
        ),
        # A pooler under a classifier is of somebody's own class around the bare model.
        frozenset(
            {*(f"{prefix}{name}" for name in _OTHERS), f"{prefix}pooler.dense.weight"}
        ),
        says=lambda shapes: _says(shapes, prefix, pool),
        drops=drops(prefix, bare=False),
        holds=_head_holds(tokens, dims, pool),
        export=export,
        assumes=assumed("class token" if pool == "token" else "mean of the patches"),
    )


_CLASS = {"class_token": True, "dist_token": False, "distilled": False}
_DIST = {"class_token": True, "dist_token": True, "distilled": False}
_TEACHER_TOKENS = {**_DIST, "distilled": True}
_NO_CLASS = {"class_token": False, "dist_token": False, "distilled": False}


def _both_generations(
    name: str, prefix: str, head: Modules, tokens: Mapping[str, Any], **more: Any
) -> tuple[Variant, ...]:
    disk = on_disk(f"{prefix}encoder.layer.{{i}}")
    memory = in_memory(f"{prefix}layers.{{i}}")
    return (
        _headed(name, prefix, disk, head, tokens, **more),
        _headed(f"{name}+memory", prefix, memory, head, tokens, **more),
    )


VARIANTS: tuple[Variant, ...] = (
    *_both_generations("vit", "vit.", HEAD, _CLASS),
    *_both_generations("deit", "deit.", HEAD, _DIST),
    *_both_generations("deit-teacher", "deit.", TEACHER, _TEACHER_TOKENS),
    *_both_generations("ijepa", "ijepa.", HEAD, _NO_CLASS, pool="avg"),
    *_both_generations("vivit", "vivit.", HEAD, _CLASS, dims=3),
    _bare("vit-bare", on_disk("encoder.layer.{i}")),
    _bare("vit-bare+memory", in_memory("layers.{i}")),
    # What 5.23 saves of a ViTMSN with a head: the blocks have lost their prefix.
    _headed(
        "vit-msn", "vit.", on_disk("encoder.layer.{i}"), HEAD, _CLASS, export=False
    ),
)
