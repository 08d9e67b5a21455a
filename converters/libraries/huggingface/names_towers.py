"""Hugging Face's image towers of CLIP and Siglip, whole or alone.

transformers 4 saved a tower alone as `vision_model.`, 5 saves it without a prefix; a
model with a head, or a whole one, has the prefix in both. Names in files and in memory
are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.errors import refusal
from converters.libraries import demands, doubts
from converters.libraries.assumptions import Assumption
from converters.libraries.huggingface.names_vit import UNPOOLED, assumed
from converters.libraries.variant import Fill, Names, Shapes, Variant, renamed
from converters.mapping.table import Row, Table, joined
from vit_config import ViTConfig

CLIP, SIGLIP = "Hugging Face's CLIP vision tower", "Hugging Face's Siglip vision tower"
TOWER = "vision_model."
_NORM = "norm of the pooled vector, which this class does not pool"
_POOLING = "attention pooling, which this class does not read"
_IDS = "indices 0, 1, 2, ... that transformers before 4.31 saved"
_TEXT = "of the text tower: only the image tower is taken"
_AROUND = {
    "text_model.": _TEXT,
    "text_projection.": _TEXT,
    "logit_scale": "scale of the contrastive loss",
    "logit_bias": "offset of the contrastive loss",
}


def _class_token(config: ViTConfig) -> bool:
    return config.class_token


def _positions(config: ViTConfig) -> bool:
    return config.pos_embed != "none"


def _attention_pooling(config: ViTConfig) -> bool:
    return config.global_pool == "map"


def _rows(prefix: str, head: str, pooling: str = "") -> tuple[Row, ...]:
    block = f"{prefix}encoder.layers.{{i}}"
    names: dict[str, Names] = {
        "patch_embed.proj": f"{prefix}embeddings.patch_embedding",
        "norm_pre": f"{prefix}pre_layrnorm",  # so spelled
        "blocks.{i}.norm1": f"{block}.layer_norm1",
        "blocks.{i}.attn.qkv": tuple(f"{block}.self_attn.{n}_proj" for n in "qkv"),
        "blocks.{i}.attn.proj": f"{block}.self_attn.out_proj",
        "blocks.{i}.norm2": f"{block}.layer_norm2",
        "blocks.{i}.mlp.fc1": f"{block}.mlp.fc1",
        "blocks.{i}.mlp.fc2": f"{block}.mlp.fc2",
        "norm": f"{prefix}post_layernorm",
    }
    if head:
        names["head"] = head
    if pooling:
        names |= {
            "attn_pool.latent": f"{pooling}.probe",
            "attn_pool.proj": f"{pooling}.attention.out_proj",
            "attn_pool.norm": f"{pooling}.layernorm",
            "attn_pool.mlp.fc1": f"{pooling}.mlp.fc1",
            "attn_pool.mlp.fc2": f"{pooling}.mlp.fc2",
        }
    embeddings = f"{prefix}embeddings"
    extra = [
        Row(
            (f"{embeddings}.position_embedding.weight",),
            ("pos_embed",),
            "n d -> 1 n d",
            _positions,
        )
    ]
    if pooling:
        fused = f"{pooling}.attention.in_proj_"
        extra += [
            Row(
                (f"{fused}{leaf}",),
                (f"attn_pool.q.{leaf}", f"attn_pool.kv.{leaf}"),
                joined(axes),
                _attention_pooling,
            )
            for leaf, axes in (("weight", "o d + (t o) d"), ("bias", "o + (t o)"))
        ]
    else:
        token = (f"{embeddings}.class_embedding",), ("cls_token",)
        extra.append(Row(*token, "d -> 1 1 d", _class_token))
    return renamed(names, extra)


def _clip_holds(head: str) -> demands.Holds:
    def problems(config: ViTConfig) -> list[str]:
        if bool(head) != bool(config.num_classes):
            return ["num_classes: CLIPVisionModel alone has no projection and no head"]
        if config.num_classes and config.head_bias != (head == "classifier"):
            return ["head_bias: a projection has none, a classifier has one"]
        return []

    pool = "avg" if head == "classifier" else "token"
    return demands.both(
        demands.spatial(CLIP, 2),
        demands.holds(
            CLIP,
            demands.PLAIN,
            class_token=True,
            qkv_bias=True,
            pre_norm=True,
            patch_bias=False,
            final_norm=head != "classifier",
            head_bias=...,
        ),
        demands.own_head_dim(CLIP),
        demands.positions_for_all(CLIP),
        demands.pooled_by(CLIP, pool, pool),
        problems,
    )


def _clip(name: str, prefix: str, head: str) -> Variant:
    classifier = head == "classifier"
    signature = {
        f"{prefix}embeddings.class_embedding",
        f"{prefix}embeddings.position_embedding.weight",
        f"{prefix}pre_layrnorm.weight",
        f"{prefix}encoder.layers.0.self_attn.q_proj.weight",
    }
    ids = f"{prefix}embeddings.position_ids"
    post = tuple(f"{prefix}post_layernorm.{leaf}" for leaf in ("weight", "bias"))

    def says(shapes: Shapes) -> Mapping[str, Any]:
        found = {
            "pos_embed_tokens": "all",
            "pos_resize": "bicubic",
            "distilled": False,
            "representation_size": None,
        }
        if classifier:
            pooled = {"global_pool": "avg", "pool_include_prefix": False}
            return {**found, **pooled, "final_norm": False}
        return {
            **found,
            "global_pool": "token",
            **({"head_bias": False} if head else {}),
        }

    def drops(config: ViTConfig) -> Mapping[str, str]:
        unread = {} if config.final_norm else dict.fromkeys(post, _NORM)
        return {ids: _IDS, **unread}

    def fills(config: ViTConfig) -> Mapping[str, Fill]:
        if config.final_norm:
            return {}
        ones, zeros = (Fill((config.embed_dim,), value) for value in (1.0, 0.0))
        return dict(zip(post, (ones, zeros), strict=True))

    return Variant(
        f"huggingface@{name}",
        Table(name, _rows(prefix, head)),
        frozenset({*signature, *({f"{head}.weight"} if head else ())}),
        says=says,
        drops=drops,
        holds=_clip_holds(head),
        beside=_AROUND if prefix else {},
        around={} if prefix else _AROUND,
        fills=fills,
        assumes=assumed("mean of the patches" if classifier else "class token"),
    )


_PADDLE = Assumption(
    "none",
    "tensors or asked",
    "asked without a head: PaddleOCR-VL's encoder has the names of such a tower",
)


def _siglip_holds(headed: bool) -> demands.Holds:
    def problems(config: ViTConfig) -> list[str]:
        if headed != bool(config.num_classes):
            return ["num_classes: SiglipVisionModel alone has no head"]
        pools = ("avg",) if headed else ("map", "none")
        if config.global_pool not in pools:
            words = " or ".join(map(repr, pools))
            return [f"global_pool: {config.global_pool!r}; in {SIGLIP} {words}"]
        return []

    return problems


def _siglip(name: str, prefix: str, head: str) -> Variant:
    pooling = f"{prefix}head"
    table = Table(name, _rows(prefix, head, pooling))
    ids = f"{prefix}embeddings.position_ids"

    def says(shapes: Shapes) -> Mapping[str, Any]:
        if len(shapes.get(f"{prefix}embeddings.patch_embedding.weight", ())) == 2:
            raise refusal(
                "this is Siglip2's NaFlex tower: patches in rows, positions resampled "
                "for every image; not a plain ViT of one image size",
                kind="config",
            )
        pooled = f"{pooling}.probe" in shapes and not head
        return {
            "pos_embed_tokens": "all",
            "pos_resize": "bicubic",
            "distilled": False,
            "representation_size": None,
            "global_pool": "avg" if head else "map" if pooled else "none",
        }

    def unread(config: ViTConfig) -> Mapping[str, tuple[int, ...]]:
        """The attention pooling, which only the pooled model reads."""
        if config.global_pool == "map":
            return {}
        pooled = config.replace(
            global_pool="map", num_classes=0, labels=None, problem_type=None
        )
        shapes = table.plan(pooled).source_shapes
        return {n: shape for n, shape in shapes.items() if n.startswith(f"{pooling}.")}

    def drops(config: ViTConfig) -> Mapping[str, str]:
        return {ids: _IDS, **dict.fromkeys(unread(config), _POOLING)}

    def fills(config: ViTConfig) -> Mapping[str, Fill]:
        # A bare model may be without; the classifier's file always has it.
        return {n: Fill(s) for n, s in unread(config).items()} if head else {}

    return Variant(
        f"huggingface@{name}",
        table,
        frozenset(
            {
                f"{prefix}embeddings.position_embedding.weight",
                f"{prefix}embeddings.patch_embedding.bias",
                f"{prefix}encoder.layers.0.self_attn.q_proj.weight",
                f"{prefix}post_layernorm.weight",
                *({f"{head}.weight"} if head else ()),
            }
        ),
        frozenset({f"{prefix}embeddings.class_embedding"}),
        says=says,
        drops=drops,
        holds=demands.both(
            demands.spatial(SIGLIP, 2),
            demands.holds(SIGLIP, demands.PLAIN, class_token=False, qkv_bias=True),
            demands.own_head_dim(SIGLIP),
            demands.positions_for_all(SIGLIP),
            _siglip_holds(bool(head)),
        ),
        beside=_AROUND if prefix else {},
        around={} if prefix else _AROUND,
        fills=fills,
        assumes=assumed(
            "mean of the patches" if head else f"attention pooling, or {UNPOOLED}",
            rotary=None if head else _PADDLE,
        ),
        doubts=doubts.of_siglip,
    )


VARIANTS: tuple[Variant, ...] = (
    _clip("clip", "", ""),
    _clip("clip-projection", TOWER, "visual_projection"),
    _clip("clip-classifier", TOWER, "classifier"),
    _siglip("siglip", "", ""),
    _siglip("siglip-classifier", TOWER, "classifier"),
)
