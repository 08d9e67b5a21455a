"""VideoMAE's own `.pth` files (MCG-NJU/VideoMAE): fine-tuned models and encoders.

Names are timm's, but that keys have no bias and the other two stand alone; layer scale
is `gamma_1` and `gamma_2`. Positions are computed and in no file, unless the model was
made with `use_learnable_pos_emb`. A pre-training file has the encoder under `encoder.`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from converters.errors import refusal
from converters.libraries import demands, positions
from converters.libraries.assumptions import assumptions
from converters.libraries.timm import names as timm
from converters.libraries.variant import Dialect, Names, Shapes, Variant, renamed
from converters.mapping.table import ZERO, Row, Table
from vit_config import ViTConfig

LIBRARY = "VideoMAE"
_DECODER = "decoder of the pre-training: only the encoder is taken"


def _learned(config: ViTConfig) -> bool:
    return config.pos_embed == "learned"


def _query_and_value(config: ViTConfig) -> bool:
    return config.qkv_bias == "qv"


_MODULES: dict[str, Names] = {
    **{
        name: name
        for name in (
            "patch_embed.proj",
            *(
                f"blocks.{{i}}.{module}"
                for module in ("norm1", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
            ),
            "norm",
            "fc_norm",
            "head",
        )
    },
    "blocks.{i}.attn.qkv.weight": "blocks.{i}.attn.qkv.weight",
    "blocks.{i}.ls1.gamma": "blocks.{i}.gamma_1",
    "blocks.{i}.ls2.gamma": "blocks.{i}.gamma_2",
}
_ROWS = renamed(
    _MODULES,
    (
        Row(("pos_embed",), ("pos_embed",), "1 n d -> 1 n d", _learned),
        Row(
            ("blocks.{i}.attn.q_bias", ZERO, "blocks.{i}.attn.v_bias"),
            ("blocks.{i}.attn.qkv.bias",),
            "s (h e) -> (s h e)",
            _query_and_value,
        ),
    ),
)


def _says(shapes: Shapes) -> Mapping[str, Any]:
    pooled, head = "fc_norm.weight" in shapes, "head.weight" in shapes
    if head and not pooled:
        raise refusal(
            "a VideoMAE classifier without mean pooling reads the first patch alone",
            hint="No model of this library does that.",
            kind="config",
        )
    return {
        "spatial_dims": 3,
        "class_token": False,
        "pos_embed": "learned" if "pos_embed" in shapes else "sincos",
        "pos_embed_tokens": "all",
        "qkv_bias": "qv",
        "norm_eps": 1e-6,
        "act_layer": "gelu",
        "distilled": False,
        "representation_size": None,
        "global_pool": "avg" if pooled else "none",
    }


def _holds(config: ViTConfig) -> Iterator[str]:
    if config.fc_norm == config.final_norm:
        yield f"fc_norm: {config.fc_norm}; {LIBRARY} has it or final_norm, never both"
    if config.fc_norm and config.head_norm_eps != 1e-6:
        yield f"fc_norm_eps: {config.fc_norm_eps}; here always 1e-06"
    if config.num_classes and not config.fc_norm:
        yield "fc_norm: False; a classifier of VideoMAE has it"
    wanted = "avg" if config.fc_norm else "none"
    if config.global_pool != wanted:
        yield f"global_pool: {config.global_pool!r}; here {wanted!r}"


VIDEOMAE = Dialect(
    "videomae",
    "MCG-NJU's VideoMAE",
    (
        Variant(
            "videomae",
            Table("videomae", _ROWS),
            frozenset(
                {
                    "patch_embed.proj.weight",
                    "blocks.0.attn.qkv.weight",
                    "blocks.0.attn.q_bias",
                    "blocks.0.attn.v_bias",
                }
            ),
            # those of BEiT and EVA
            frozenset(
                {
                    "cls_token",
                    "reg_token",
                    "blocks.0.attn.relative_position_bias_table",
                    "rel_pos_bias.relative_position_bias_table",
                }
            ),
            fits=lambda shapes: len(shapes["patch_embed.proj.weight"]) == 5,
            says=_says,
            computed=positions.VIDEOMAE,
            holds=demands.both(
                demands.spatial(LIBRARY, 3),
                demands.holds(
                    LIBRARY,
                    demands.PLAIN,
                    class_token=False,
                    norm_eps=1e-6,
                    act_layer="gelu",
                    qkv_bias="qv",
                    pos_embed=("sincos", "learned"),
                    init_values=...,
                    final_norm=...,
                    fc_norm=...,
                ),
                demands.own_head_dim(LIBRARY),
                _holds,
            ),
            around={
                "decoder.": _DECODER,
                "encoder_to_decoder.": _DECODER,
                "mask_token": _DECODER,
            },
            assumes=assumptions(
                "MCG-NJU/VideoMAE 14ef8d8",
                activation="gelu",
                epsilon="1e-06",
                pooling="none, or with fc_norm the mean of the patches",
            ),
        ),
    ),
    places=timm.PLACES,
)

DIALECTS = (VIDEOMAE,)
