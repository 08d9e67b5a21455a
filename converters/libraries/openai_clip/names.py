"""The image tower of OpenAI's CLIP and of open_clip, behind `visual.` in a whole model.

The projection is a bare matrix, input by output: the head without a bias, transposed.
Where open_clip takes a tower of timm's (SigLIP, for example), that one has its own
names under `trunk.`, and the projection, if there is one, is `head.proj`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from converters.libraries import demands, doubts
from converters.libraries.assumptions import Assumption, asked, assumptions
from converters.libraries.timm import names as timm
from converters.libraries.variant import Dialect, Shapes, Variant, renamed
from converters.mapping.table import Row, Table
from vit_config import ViTConfig

LIBRARY = "CLIP's image tower"
BLOCK = "transformer.resblocks.{i}"


def _class_token(config: ViTConfig) -> bool:
    return config.class_token


def _positions(config: ViTConfig) -> bool:
    return config.pos_embed != "none"


def _projection(config: ViTConfig) -> bool:
    return config.num_classes > 0


def _rows(norm: str) -> tuple[Row, ...]:
    """The tower, its last norm before the pooling (`norm`) or behind (`fc_norm`)."""
    return renamed(
        {
            "patch_embed.proj": "conv1",
            "norm_pre": "ln_pre",
            "blocks.{i}.norm1": f"{BLOCK}.ln_1",
            "blocks.{i}.attn.qkv.weight": f"{BLOCK}.attn.in_proj_weight",
            "blocks.{i}.attn.qkv.bias": f"{BLOCK}.attn.in_proj_bias",
            "blocks.{i}.attn.proj": f"{BLOCK}.attn.out_proj",
            "blocks.{i}.norm2": f"{BLOCK}.ln_2",
            "blocks.{i}.mlp.fc1": f"{BLOCK}.mlp.c_fc",
            "blocks.{i}.mlp.fc2": f"{BLOCK}.mlp.c_proj",
            "blocks.{i}.ls1": f"{BLOCK}.ls_1",  # open_clip's, where it has layer scale
            "blocks.{i}.ls2": f"{BLOCK}.ls_2",
            norm: "ln_post",
        },
        (
            Row(("class_embedding",), ("cls_token",), "d -> 1 1 d", _class_token),
            Row(("positional_embedding",), ("pos_embed",), "n d -> 1 n d", _positions),
            Row(("proj",), ("head.weight",), "u k -> k u", _projection),
        ),
    )


def _says(shapes: Shapes) -> Mapping[str, Any]:
    return {
        "norm_eps": 1e-5,
        "global_pool": "token",
        "head_bias": False,
        "pos_embed_tokens": "all",
        "pos_resize": "bicubic",
    }


_TOWER = (
    *("class_embedding", "conv1.weight"),
    "transformer.resblocks.0.attn.in_proj_weight",
)
_CLIPA: dict[str, Any] = {
    "pre_norm": False,
    "final_norm": False,
    "fc_norm": True,
    "global_pool": "avg",
    "pool_include_prefix": False,
}


def _no_head_bias(config: ViTConfig) -> list[str]:
    if config.num_classes and config.head_bias:
        return ["head_bias: True; CLIP's projection has none"]
    return []


_TEXT = "of the text tower: only the image tower is taken"
_AROUND = {
    "transformer.resblocks.": _TEXT,
    "token_embedding.": _TEXT,
    "positional_embedding": _TEXT,
    "ln_final.": _TEXT,
    "text_projection": _TEXT,
    "attn_mask": _TEXT,
    "text.": _TEXT,
    "logit_scale": "scale of the contrastive loss",
    "logit_bias": "offset of the contrastive loss",
    # in OpenAI's own archives
    "input_resolution": "sizes that OpenAI's files repeat as tensors",
    "context_length": "sizes that OpenAI's files repeat as tensors",
    "vocab_size": "sizes that OpenAI's files repeat as tensors",
}

TRUNK = "trunk."


def _trunk_rows(own_head: bool = False) -> tuple[Row, ...]:
    """Timm's names under `trunk.`, but for a projection that stands beside."""
    names = {
        name: TRUNK + name
        for name in timm.identity()
        if name.partition(".")[0] not in ("head", "head_dist", "dist_token")
    }
    return renamed({**names, "head": f"{TRUNK}head" if own_head else "head.proj"})


_TRUNKS = tuple(
    TRUNK + name
    for name in (timm.QKV, timm.PATCHES, "blocks.0.mlp.fc1.weight", "pos_embed")
)
_NO_TRUNKS = (f"{TRUNK}blocks.0.attn.q_bias", f"{TRUNK}rope.periods")


def _trunk_holds(config: ViTConfig) -> Iterator[str]:
    # A projection may be without a bias, unlike timm's own head.
    lines = timm.holds(config.replace(head_bias=True))
    yield from lines
    if config.dist_token or config.head_act:
        yield "dist_token, head_act: open_clip's towers have neither"


def _tower_holds(pool: str, **changes: Any) -> demands.Holds:
    """What a tower of CLIP's own class can be; `changes` are those of one kind."""
    return demands.both(
        demands.spatial(LIBRARY, 2),
        demands.holds(
            LIBRARY,
            demands.PLAIN,
            act_layer=("gelu", "quick_gelu"),
            norm_eps=1e-5,
            class_token=True,
            qkv_bias=True,
            patch_bias=False,
            init_values=...,
            head_bias=...,
            **changes,
        ),
        _no_head_bias,
        demands.own_head_dim(LIBRARY),
        demands.positions_for_all(LIBRARY),
        demands.pooled_by(LIBRARY, pool, pool),
    )


CODE = "openai/CLIP and the models of open_clip 3.3.0"
_ASSUMES = assumptions(
    CODE,
    rotary=Assumption(
        "none",
        "tensors or asked",
        "asked without ln_post or proj: Meta's PE-Lang and PE-Spatial",
    ),
    activation=asked("quick GELU in OpenAI's, DFN's and MetaCLIP's models"),
    epsilon="1e-05",
    pooling="class token",
)
_CLIPA_ASSUMES = assumptions(
    "the CLIPA models of open_clip 3.3.0",
    activation=asked("GELU in open_clip's configs"),
    epsilon="1e-05",
    pooling="mean of the patches",
)
_RESBLOCK = "model.visual.transformer.resblocks[0]"


def _own_head_holds(config: ViTConfig) -> Iterator[str]:
    yield from timm.holds(config)
    if config.dist_token or config.head_act or not config.num_classes:
        yield "dist_token, head_act: open_clip's towers have neither, and a head"


OPENAI_CLIP = Dialect(
    "openai_clip",
    "OpenAI CLIP and open_clip, image tower",
    (
        Variant(
            "openai_clip",
            Table("openai_clip", _rows("norm")),
            frozenset({*_TOWER, "ln_pre.weight"}),
            says=_says,
            holds=_tower_holds("token", pre_norm=True),
            around=_AROUND,
            assumes=_ASSUMES,
            doubts=doubts.of_clip,
        ),
        # CLIPA: mean of the patches, then the norm; no tensor says which comes first.
        Variant(
            "openai_clip@clipa",
            Table("openai_clip@clipa", _rows("fc_norm")),
            frozenset(_TOWER),
            frozenset({"ln_pre.weight"}),
            says=lambda shapes: {**_says(shapes), **_CLIPA},
            holds=_tower_holds("avg", **_CLIPA),
            around=_AROUND,
            told=True,
            assumes=_CLIPA_ASSUMES,
        ),
        Variant(
            "openai_clip@timm",
            Table("openai_clip@timm", _trunk_rows()),
            frozenset(_TRUNKS),
            frozenset({*_NO_TRUNKS, f"{TRUNK}head.weight"}),
            says=lambda shapes: {"distilled": False, "representation_size": None},
            holds=_trunk_holds,
            around=_AROUND,
            assumes=timm.ASSUMES,
            doubts=lambda says, shapes: doubts.of_timm(says, shapes, TRUNK),
        ),
        # The tower's own head is the projection.
        Variant(
            "openai_clip@timm+head",
            Table("openai_clip@timm+head", _trunk_rows(own_head=True)),
            frozenset({*_TRUNKS, f"{TRUNK}head.weight"}),
            frozenset(_NO_TRUNKS),
            says=lambda shapes: {"distilled": False, "representation_size": None},
            holds=_own_head_holds,
            around=_AROUND,
            assumes=timm.ASSUMES,
            doubts=lambda says, shapes: doubts.of_timm(says, shapes, TRUNK),
        ),
    ),
    config="openai_clip",
    places={
        "num_heads": f"{_RESBLOCK}.attn.num_heads",
        "img_size": "model.visual.image_size",
        "act_layer": f"{_RESBLOCK}.mlp.gelu",
        "norm_eps": f"{_RESBLOCK}.ln_1.eps",
    },
)

DIALECTS = (OPENAI_CLIP,)
