"""Flax' `.npz` files: vit_jax (the ViT paper's and AugReg's) and big_vision.

Names end in `kernel` and `scale`; kernels are input by output, a query kernel is
`(D, heads, head_dim)`. Submodules are numbered by kind within a block, which is the
difference between the two. In a file the names may stand behind `opt/target/`,
`params/` or `params/img/`.

AugReg's and vit_jax's positions cover the class token, big_vision's only the patches;
with `posemb="sincos2d"` the latter stores none. All of them were trained with the tanh
GELU, Flax' default, and so they are read; timm and Hugging Face run them with the exact
one (`--set act_layer=gelu` says otherwise than the file, and is refused).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries import demands
from converters.libraries.assumptions import assumptions
from converters.libraries.positions import computed_by, simple_vit
from converters.libraries.variant import Dialect, Shapes, Variant
from converters.mapping.table import Condition, Row, Table
from vit_config import ViTConfig
from vit_config.weights import always

LIBRARY = "the Flax ViTs"
BLOCK = "Transformer/encoderblock_{i}"


def _class_token(config: ViTConfig) -> bool:
    return config.class_token


def _positions(config: ViTConfig) -> bool:
    return config.pos_embed != "none"


def _map(config: ViTConfig) -> bool:
    return config.global_pool == "map"


def _representation(config: ViTConfig) -> bool:
    return bool(config.representation_size)


def _head(config: ViTConfig) -> bool:
    return config.num_classes > 0


def _norm(theirs: str, ours: str, when: Condition = always) -> list[Row]:
    return [
        Row((f"{theirs}/scale",), (f"{ours}.weight",), "d -> d", when),
        Row((f"{theirs}/bias",), (f"{ours}.bias",), "d -> d", when),
    ]


def _dense(
    theirs: str, ours: str, inp: str, out: str, when: Condition = always
) -> list[Row]:
    kernel = f"{inp} {out} -> {out} {inp}"
    return [
        Row((f"{theirs}/kernel",), (f"{ours}.weight",), kernel, when),
        Row((f"{theirs}/bias",), (f"{ours}.bias",), f"{out} -> {out}", when),
    ]


def _parts(
    theirs: str, names: str, ours: str, axis: str, when: Condition = always
) -> list[Row]:
    """Kernels `(D, heads, head_dim)`, one for each name, to rows of one matrix."""
    kernels, biases = (
        tuple(f"{theirs}/{name}/{leaf}" for name in names.split())
        for leaf in ("kernel", "bias")
    )
    rows = f"({axis} h e)" if axis else "(h e)"
    return [
        Row(kernels, (f"{ours}.weight",), f"{axis} d h e -> {rows} d", when),
        Row(biases, (f"{ours}.bias",), f"{axis} h e -> {rows}", when),
    ]


def _out(theirs: str, ours: str, when: Condition = always) -> list[Row]:
    return [
        Row((f"{theirs}/kernel",), (f"{ours}.weight",), "h e d -> d (h e)", when),
        Row((f"{theirs}/bias",), (f"{ours}.bias",), "d -> d", when),
    ]


def _rows(
    positions: str | None, attention: int, mlp: int, second: int
) -> tuple[Row, ...]:
    inner = f"{BLOCK}/MultiHeadDotProductAttention_{attention}"
    pool, pooling = "MAPHead_0", "MAPHead_0/MultiHeadDotProductAttention_0"
    patches = "... c d -> d c ..."
    return (
        Row(("cls",), ("cls_token",), "1 1 d -> 1 1 d", _class_token),
        *(
            [Row((positions,), ("pos_embed",), "1 n d -> 1 n d", _positions)]
            if positions
            else []
        ),
        Row(("embedding/kernel",), ("patch_embed.proj.weight",), patches),
        Row(("embedding/bias",), ("patch_embed.proj.bias",), "d -> d"),
        *_norm(f"{BLOCK}/LayerNorm_0", "blocks.{i}.norm1"),
        *_parts(inner, "query key value", "blocks.{i}.attn.qkv", "s"),
        *_out(f"{inner}/out", "blocks.{i}.attn.proj"),
        *_norm(f"{BLOCK}/LayerNorm_{second}", "blocks.{i}.norm2"),
        *_dense(f"{BLOCK}/MlpBlock_{mlp}/Dense_0", "blocks.{i}.mlp.fc1", "d", "m"),
        *_dense(f"{BLOCK}/MlpBlock_{mlp}/Dense_1", "blocks.{i}.mlp.fc2", "m", "d"),
        *_norm("Transformer/encoder_norm", "norm"),
        Row((f"{pool}/probe",), ("attn_pool.latent",), "1 1 d -> 1 1 d", _map),
        *_parts(pooling, "query", "attn_pool.q", "", _map),
        *_parts(pooling, "key value", "attn_pool.kv", "t", _map),
        *_out(f"{pooling}/out", "attn_pool.proj", _map),
        *_norm(f"{pool}/LayerNorm_0", "attn_pool.norm", _map),
        *_dense(f"{pool}/MlpBlock_0/Dense_0", "attn_pool.mlp.fc1", "d", "m", _map),
        *_dense(f"{pool}/MlpBlock_0/Dense_1", "attn_pool.mlp.fc2", "m", "d", _map),
        *_dense("pre_logits", "pre_logits", "w", "p", _representation),
        *_dense("head", "head", "u", "k", _head),
    )


def _says(positions: str, shapes: Shapes, attention: int) -> Mapping[str, Any]:
    block = BLOCK.replace("{i}", "0")
    query = f"{block}/MultiHeadDotProductAttention_{attention}/query/kernel"
    heads = shapes.get(query, ())
    return {
        **({"num_heads": heads[1]} if len(heads) == 3 else {}),
        "norm_eps": 1e-6,
        "act_layer": "gelu_tanh",
        "pos_embed_tokens": positions,
        "pos_resize": "zoom1",
        "weight_init": "jax",
    }


def _says_vit_jax(shapes: Shapes) -> Mapping[str, Any]:
    pool = "token" if "cls" in shapes else "avg"
    return {**_says("all", shapes, 1), "global_pool": pool}


def _says_big_vision(shapes: Shapes) -> Mapping[str, Any]:
    pooled = "map" if "MAPHead_0/probe" in shapes else "avg"
    pool = "token" if "cls" in shapes else pooled
    return {**_says("patch", shapes, 0), "global_pool": pool}


def _says_sincos(shapes: Shapes) -> Mapping[str, Any]:
    return {**_says_big_vision(shapes), "pos_embed": "sincos"}


_holds = demands.both(
    demands.spatial(LIBRARY, 2),
    demands.holds(
        LIBRARY,
        demands.PLAIN,
        norm_eps=1e-6,
        act_layer="gelu_tanh",
        qkv_bias=True,
        representation_size=...,
    ),
    demands.own_head_dim(LIBRARY),
)


def _covers(positions: str) -> demands.Holds:
    def problems(config: ViTConfig) -> list[str]:
        rows = config.num_tokens if positions == "all" else config.num_patches
        if config.pos_embed == "none" or config.num_pos_tokens != rows:
            found = config.pos_embed_tokens
            return [f"pos_embed_tokens: {found!r}; these files have {positions!r}"]
        return []

    return problems


_OPTIMIZER = "state of the training"
_BESIDE: dict[str, Any] = {
    "assumes": assumptions(
        "google-research/vision_transformer and big_vision",
        activation="gelu_tanh",
        epsilon="1e-06",
        pooling="class token, MAP head, or the mean where there is neither",
    ),
    "outside": {"opt/": _OPTIMIZER, "chrono/": _OPTIMIZER, "state/": _OPTIMIZER},
    "around": {"txt/": "text tower: only the image tower is taken"},
    "alone": {
        "t": "temperature of the contrastive loss",
        "b": "bias of the contrastive loss",
    },
    "export": False,
}
_TABLE = "Transformer/posembed_input/pos_embedding"
_PATCHES = "embedding/kernel"
_MLP = BLOCK.replace("{i}", "0") + "/MlpBlock_{}/Dense_0/kernel"

JAX = Dialect(
    "jax",
    "Flax ViTs: vit_jax, AugReg, big_vision",
    (
        Variant(
            "jax@vit_jax",
            Table("jax@vit_jax", _rows(_TABLE, 1, 3, 2)),
            frozenset({_PATCHES, _MLP.format(3), _TABLE}),
            says=_says_vit_jax,
            holds=demands.both(_holds, _covers("all")),
            **_BESIDE,
        ),
        Variant(
            "jax@big_vision",
            Table("jax@big_vision", _rows("pos_embedding", 0, 0, 1)),
            frozenset({_PATCHES, _MLP.format(0), "pos_embedding"}),
            says=_says_big_vision,
            holds=demands.both(_holds, _covers("patch")),
            **_BESIDE,
        ),
        Variant(
            "jax@big_vision+sincos",
            Table("jax@big_vision+sincos", _rows(None, 0, 0, 1)),
            frozenset({_PATCHES, _MLP.format(0)}),
            frozenset({"pos_embedding"}),
            says=_says_sincos,
            computed=computed_by("big_vision's sincos2d", simple_vit),
            holds=demands.both(_holds, _covers("patch")),
            **_BESIDE,
        ),
    ),
)

DIALECTS = (JAX,)
