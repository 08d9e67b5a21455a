"""torchvision's `VisionTransformer` (`vit_b_16` and its kind).

In 0.12 the MLP's layers were `mlp.linear_1` and `mlp.linear_2`; torchvision itself
still reads such files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from converters.libraries import demands
from converters.libraries.assumptions import assumptions
from converters.libraries.variant import Dialect, Shapes, Variant, renamed
from converters.mapping.table import Table
from vit_config import ViTConfig

LIBRARY = "torchvision's ViT"
BLOCK = "encoder.layers.encoder_layer_{i}"
FIRST = "encoder.layers.encoder_layer_0"
ANCHOR = {"class_token", "conv_proj.weight", f"{FIRST}.self_attention.in_proj_weight"}


def _modules(fc1: str, fc2: str) -> dict[str, str]:
    attention = f"{BLOCK}.self_attention"
    return {
        "cls_token": "class_token",
        "pos_embed": "encoder.pos_embedding",
        "patch_embed.proj": "conv_proj",
        "blocks.{i}.norm1": f"{BLOCK}.ln_1",
        # torch's own attention: no dot before the leaf
        "blocks.{i}.attn.qkv.weight": f"{attention}.in_proj_weight",
        "blocks.{i}.attn.qkv.bias": f"{attention}.in_proj_bias",
        "blocks.{i}.attn.proj": f"{attention}.out_proj",
        "blocks.{i}.norm2": f"{BLOCK}.ln_2",
        "blocks.{i}.mlp.fc1": f"{BLOCK}.{fc1}",
        "blocks.{i}.mlp.fc2": f"{BLOCK}.{fc2}",
        "norm": "encoder.ln",
        "pre_logits": "heads.pre_logits",
        "head": "heads.head",
    }


def _square(config: ViTConfig) -> Iterator[str]:
    if config.num_classes < 1:
        yield "num_classes: 0; torchvision's ViT always has a head"
    if len(set(config.img_size)) > 1 or len(set(config.patch_size)) > 1:
        yield "img_size, patch_size: torchvision's ViT knows squares only"


_holds = demands.both(
    demands.spatial(LIBRARY, 2),
    demands.holds(
        LIBRARY,
        demands.PLAIN,
        act_layer="gelu",
        class_token=True,
        qkv_bias=True,
        in_chans=3,
        representation_size=...,
    ),
    demands.own_head_dim(LIBRARY),
    demands.positions_for_all(LIBRARY),
    demands.pooled_by(LIBRARY, "token", "token"),
    _square,
)


def _says(shapes: Shapes) -> Mapping[str, Any]:
    return {
        "norm_eps": 1e-6,
        "act_layer": "gelu",
        "global_pool": "token",
        "pos_embed_tokens": "all",
        "pos_resize": "bicubic_align",
        "weight_init": "jax",
    }


_ASSUMES = assumptions(
    "torchvision 0.12 to 0.29",
    activation="gelu",
    epsilon="1e-06",
    pooling="class token",
)


def _variant(name: str, fc1: str, fc2: str, export: bool) -> Variant:
    return Variant(
        name,
        Table(name, renamed(_modules(fc1, fc2))),
        frozenset({*ANCHOR, f"{FIRST}.{fc1}.weight"}),
        says=_says,
        holds=_holds,
        export=export,
        assumes=_ASSUMES,
    )


TORCHVISION = Dialect(
    "torchvision",
    "torchvision VisionTransformer",
    (
        _variant("torchvision@0.13", "mlp.0", "mlp.3", export=True),
        _variant("torchvision@0.12", "mlp.linear_1", "mlp.linear_2", export=False),
    ),
    config="torchvision",
    places={
        "num_heads": "model.encoder.layers[0].num_heads",
        "img_size": "model.image_size",
    },
)

DIALECTS = (TORCHVISION,)
