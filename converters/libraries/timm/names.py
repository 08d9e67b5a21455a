"""timm's `VisionTransformer` and `VisionTransformerDistilled`: the canonical names.

Facebook's own files of DINO, DeiT and MAE have the same names; what differs is in
`facebook`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from converters.libraries import doubts
from converters.libraries.assumptions import Assumption, asked, assumptions
from converters.libraries.variant import Dialect, Shapes, Variant, renamed
from converters.mapping.table import CANONICAL, Row, Table
from vit_config import ViTConfig

DINO_HEAD = ("head.mlp.", "head.last_layer.")
"""Beginnings of the names of the head that DINO trains with, beside its backbone."""

_AROUND = dict.fromkeys(DINO_HEAD, "projection head of the self-supervised training")

QKV = "blocks.0.attn.qkv.weight"
PATCHES = "patch_embed.proj.weight"


def _gated(config: ViTConfig) -> bool:
    return config.mlp_layer == "swiglu"


def _plain(config: ViTConfig) -> bool:
    return config.mlp_layer != "swiglu"


def _biased(config: ViTConfig) -> bool:
    return _gated(config) and config.mlp_bias


def identity() -> dict[str, str]:
    """Every canonical module under its own name, for `renamed`."""
    names = (row.targets[0] for row in CANONICAL.rows)
    return {name: name for name in dict.fromkeys(names)}


def _swiglu_rows() -> tuple[Row, ...]:
    """`SwiGLU` keeps gate and value apart; `SwiGLUPacked` is the canonical form."""
    parts = "blocks.{i}.mlp.fc1_g", "blocks.{i}.mlp.fc1_x"
    weight, bias = (tuple(f"{p}.{leaf}" for p in parts) for leaf in ("weight", "bias"))
    fc1 = "blocks.{i}.mlp.fc1"
    return (
        Row(weight, (f"{fc1}.weight",), "g m d -> (g m) d", _gated),
        Row(bias, (f"{fc1}.bias",), "g m -> (g m)", _biased),
    )


def holds(config: ViTConfig) -> Iterator[str]:
    """What timm's class has no argument for."""
    if config.spatial_dims != 2:
        yield "spatial_dims: 3; timm's VisionTransformer is 2D"
    if config.patch_norm == "dual":
        yield "patch_norm: 'dual'; timm has at most a norm after the projection"
    if config.head_dim not in (None, config.embed_dim // config.num_heads):
        yield f"head_dim: {config.head_dim}; timm's is embed_dim / num_heads"
    if config.patch_bias == config.pre_norm:
        yield "patch_bias: timm has it if and only if there is no pre_norm"
    if config.proj_bias != config.mlp_bias:
        yield "mlp_bias: timm has one flag for proj_bias and mlp_bias"
    if config.pos_embed_tokens == "cls" and config.num_pos_tokens not in (
        config.num_patches,
        config.num_tokens,
    ):
        yield "pos_embed_tokens: 'cls' with registers; timm's are all tokens or patches"
    if config.global_pool == "token_avg":
        yield "global_pool: 'token_avg'; timm has token, avg, max and map"
    if config.representation_size:
        yield f"representation_size: {config.representation_size}; timm has none"
    if config.head_act or not config.head_bias:
        yield "head_act, head_bias: timm's head is a linear layer with a bias"
    if config.dist_token != config.distilled:
        yield "dist_token: timm's distilled class averages two heads"


def says(shapes: Shapes) -> Mapping[str, Any]:
    """Names tell nothing that shapes do not, but for a distilled model."""
    return {"distilled": "dist_token" in shapes, "representation_size": None}


CODE = "timm 1.0.31"
PLACES = {
    "num_heads": "model.blocks[0].attn.num_heads",
    "img_size": "model.patch_embed.img_size",
    "norm_eps": "model.blocks[0].norm1.eps",
    "act_layer": "model.blocks[0].mlp.act",
    "global_pool": "model.global_pool",
    "pool_include_prefix": "model.pool_include_prefix",
    "rope": "model.rope",
    "block": "type(model.blocks[0])",
}
"""Where a model of timm has what its state dict does not say."""

ASSUMES = assumptions(
    CODE,
    rotary=Assumption(
        "none",
        "tensors or asked",
        "asked without a position table, with norm_pre beside attn_pool or without a "
        "final norm (Perception Encoder), without class token and final norm "
        "(Qwen3-VL), and for volumes without class token (V-JEPA 2)",
    ),
    norms=Assumption(
        "before attention and MLP",
        "tensors or asked",
        "asked where the file's order or the names of vit_*_rpn_* say otherwise",
    ),
    activation=asked("vit_*_clip_* and vit_*_clip_quickgelu_* have the same files"),
    epsilon=asked(),
    pooling=Assumption(
        "as stated",
        "tensors or asked",
        "attn_pool shows itself, but not whether it sees the prefix tokens",
    ),
)

_SPLIT = ("blocks.0.mlp.fc1_g.weight", "blocks.0.mlp.fc1_x.weight")
_OTHERS = frozenset(
    {
        "blocks.0.mlp.fc1_g.weight",
        # Facebook's
        "register_tokens",
        "mask_token",
        "blocks.0.gamma_1",
        "blocks.0.mlp.w12.weight",
        # MONAI's, and other networks with timm's blocks
        "patch_embedding.position_embeddings",
        "blocks.0.attn.q_bias",
        "blocks.0.attn.rel_pos_h",
        "blocks.0.attn.relative_position_bias_table",
        "rope_embed.periods",
        "rel_pos_bias.relative_position_bias_table",
    }
)

TIMM = Dialect(
    "timm",
    "timm VisionTransformer",
    (
        Variant(
            "timm",
            Table("timm", CANONICAL.rows),
            frozenset({QKV, PATCHES, "blocks.0.mlp.fc1.weight"}),
            _OTHERS,
            says=says,
            holds=holds,
            around=_AROUND,
            assumes=ASSUMES,
            doubts=doubts.of_timm,
            architectures=True,
        ),
        Variant(
            "timm@swiglu",
            Table("timm@swiglu", renamed(identity(), _swiglu_rows())),
            frozenset({QKV, PATCHES, *_SPLIT}),
            _OTHERS - set(_SPLIT),
            says=says,
            holds=holds,
            assumes=ASSUMES,
            doubts=doubts.of_timm,
            architectures=True,
        ),
    ),
    config="timm",
    places=PLACES,
)

DIALECTS = (TIMM,)
