"""keras-hub's `ViTBackbone` and `ViTImageClassifier` (0.32), as its presets hold them.

Names are those of `converters.libraries.keras_hub.file`: places in `model.weights.h5`
without what is common to all, and the layers of the classifier by their own names.
Weights are Keras': kernels input by output, a query kernel `(D, heads, head_dim)`. The
class token has a position.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries import demands
from converters.libraries.assumptions import asked, assumptions
from converters.libraries.variant import Dialect, Shapes, Variant
from converters.mapping.table import Condition, Row, Table
from vit_config import ViTConfig
from vit_config.weights import always

LIBRARY = "keras-hub's ViT"
STEM = "vi_t_patching_and_embedding"
BLOCK = "vi_t_encoder/encoder_layers/vi_t_encoder_block_{i}"


def _class_token(config: ViTConfig) -> bool:
    return config.class_token


def _patch_bias(config: ViTConfig) -> bool:
    return config.patch_bias


def _qkv_bias(config: ViTConfig) -> bool:
    return bool(config.qkv_bias)


def _mlp_bias(config: ViTConfig) -> bool:
    return config.mlp_bias


def _representation(config: ViTConfig) -> bool:
    return bool(config.representation_size)


def _head(config: ViTConfig) -> bool:
    return config.num_classes > 0


def _pair(
    theirs: str | tuple[str, ...],
    ours: str,
    kernel: str,
    bias: str,
    when: Condition = always,
    biased: Condition = always,
) -> list[Row]:
    """A kernel and its bias, of one layer or of several that are parts of ours."""
    layers = (theirs,) if isinstance(theirs, str) else theirs
    kernels, biases = (
        tuple(f"{layer}/vars/{leaf}" for layer in layers) for leaf in (0, 1)
    )
    return [
        Row(kernels, (f"{ours}.weight",), kernel, when),
        Row(biases, (f"{ours}.bias",), bias, biased if when is always else when),
    ]


_PARTS = tuple(f"{BLOCK}/mha/{name}_dense" for name in ("query", "key", "value"))
_VECTOR = "d -> d"
ROWS: tuple[Row, ...] = (
    Row((f"{STEM}/vars/0",), ("cls_token",), "1 1 d -> 1 1 d", _class_token),
    Row((f"{STEM}/position_embedding/vars/0",), ("pos_embed",), "n d -> 1 n d"),
    *_pair(
        f"{STEM}/patch_embedding",
        "patch_embed.proj",
        "... c d -> d c ...",
        _VECTOR,
        biased=_patch_bias,
    ),
    *_pair(f"{BLOCK}/layer_norm_1", "blocks.{i}.norm1", _VECTOR, _VECTOR),
    *_pair(
        _PARTS,
        "blocks.{i}.attn.qkv",
        "s d h e -> (s h e) d",
        "s h e -> (s h e)",
        biased=_qkv_bias,
    ),
    *_pair(
        f"{BLOCK}/mha/output_dense",
        "blocks.{i}.attn.proj",
        "h e d -> d (h e)",
        _VECTOR,
        biased=_qkv_bias,
    ),
    *_pair(f"{BLOCK}/layer_norm_2", "blocks.{i}.norm2", _VECTOR, _VECTOR),
    *_pair(
        f"{BLOCK}/mlp/dense_1",
        "blocks.{i}.mlp.fc1",
        "d m -> m d",
        "m -> m",
        biased=_mlp_bias,
    ),
    *_pair(
        f"{BLOCK}/mlp/dense_2",
        "blocks.{i}.mlp.fc2",
        "m d -> d m",
        _VECTOR,
        biased=_mlp_bias,
    ),
    *_pair("vi_t_encoder/layer_norm", "norm", _VECTOR, _VECTOR),
    *_pair("pre_logits", "pre_logits", "w p -> p w", "p -> p", _representation),
    *_pair("predictions", "head", "u k -> k u", "k -> k", _head),
)


def says(shapes: Shapes) -> Mapping[str, Any]:
    """What follows from the code of the library."""
    query = f"{BLOCK}/mha/query_dense/vars/0".replace("{i}", "0")
    heads = shapes.get(query, ())
    return {
        **({"num_heads": heads[1]} if len(heads) == 3 else {}),
        "act_layer": "gelu",
        "pos_embed_tokens": "all",
    }


_PLAIN = demands.holds(
    LIBRARY,
    demands.PLAIN,
    act_layer="gelu",
    patch_bias=...,
    qkv_bias=(True, False),
    proj_bias=...,
    mlp_bias=...,
    pool_include_prefix=...,
    representation_size=...,
    head_act=...,
    drop_path_rate=0.0,
)


def holds(config: ViTConfig) -> list[str]:
    """What the classes have no argument for."""
    lines = []
    if bool(config.qkv_bias) != config.proj_bias:
        lines.append("proj_bias: use_mha_bias is one flag for it and qkv_bias")
    if config.pos_drop_rate != config.proj_drop_rate:
        lines.append("pos_drop_rate: dropout_rate is one number for it and the blocks'")
    if not config.num_classes:
        if config.global_pool != "none":
            lines.append("global_pool: a backbone alone gives its tokens: 'none'")
        if config.representation_size or config.drop_rate:
            lines.append("representation_size, drop_rate: of a classifier only")
    elif config.global_pool == "avg":
        if config.pool_include_prefix != config.class_token:
            lines.append("pool_include_prefix: 'gap' is the mean of all tokens")
    elif config.global_pool != "token" or not config.class_token:
        lines.append(f"global_pool: {config.global_pool!r}; 'token' or 'avg'")
    return lines


def follows(known: Mapping[str, Any]) -> Mapping[str, Any]:
    """`pooling="gap"` is the mean of all tokens, the class token among them."""
    mean = known.get("global_pool") == "avg"
    return {"pool_include_prefix": bool(mean and known.get("class_token"))}


KERAS_HUB = Dialect(
    "keras_hub",
    LIBRARY,
    (
        Variant(
            "keras_hub",
            Table("keras_hub", ROWS),
            frozenset(
                {
                    f"{STEM}/patch_embedding/vars/0",
                    f"{BLOCK}/mha/query_dense/vars/0".replace("{i}", "0"),
                }
            ),
            says=says,
            follows=follows,
            assumes=assumptions(
                "keras-hub 0.32.0",
                activation="gelu",
                epsilon=asked("layer_norm_epsilon of the config"),
                pooling=asked("of the config"),
            ),
            holds=demands.both(
                demands.spatial(LIBRARY, 2),
                _PLAIN,
                demands.own_head_dim(LIBRARY),
                demands.positions_for_all(LIBRARY),
                holds,
            ),
        ),
    ),
    config="keras_hub",
)

DIALECTS = (KERAS_HUB,)
