"""Facebook's own `.pth` files: what differs from timm's names.

DINOv2 has `register_tokens` and a `mask_token` that only training reads; its gated MLP
is `w12` and `w3`; training checkpoints keep the blocks in chunks, of `depth //
block_chunks` blocks each and the last of the rest: `+chunked` is four, as most of them
have, `+chunked1` another number. 3DINO is the same for volumes. DeiT-3 calls the layer
scale `gamma_1` and `gamma_2`. MAE's pre-training files hold a decoder.

The other files (DINO, DeiT, fine-tuned MAE, I-JEPA, V-JEPA) have timm's names and are
read as such. Whoever names the variant (`--from facebook@dino`) need not say what all
of these models share: epsilon, activation, and how positions are resampled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from converters.libraries import demands, doubts
from converters.libraries.assumptions import Assumption, Assumptions, asked, assumptions
from converters.libraries.timm import names as timm
from converters.libraries.variant import (
    Dialect,
    Fill,
    Shapes,
    Variant,
    Wrapper,
    renamed,
)
from converters.mapping.table import CANONICAL, Table
from vit_config import ViTConfig

QKV, PATCHES = timm.QKV, timm.PATCHES
GATED = "blocks.0.mlp.w12.weight"
CHUNKED_GATED = "blocks.0.0.mlp.w12.weight"


def _drops(config: ViTConfig) -> Mapping[str, str]:
    return {"mask_token": "token for masked patches, read in pre-training only"}


def _dinov2(shapes: Shapes) -> Mapping[str, Any]:
    gated = GATED in shapes or CHUNKED_GATED in shapes
    return {
        "pos_embed_tokens": "cls",
        "norm_eps": 1e-6,
        "act_layer": "silu" if gated else "gelu",
        "pos_resize": _resize(shapes),
        "distilled": False,
        "representation_size": None,
    }


def _resize(shapes: Shapes) -> str:
    """3DINO's is trilinear, and as DINOv2's a tenth of a patch off."""
    if len(shapes.get(PATCHES, ())) == 5:
        return "bilinear"
    return "bicubic_aa" if "register_tokens" in shapes else "bicubic_offset"


def _names(gated: bool, chunked: bool) -> dict[str, str]:
    names = timm.identity() | {"reg_token": "register_tokens"}
    if gated:
        for leaf in ("weight", "bias"):
            names[f"blocks.{{i}}.mlp.fc1.{leaf}"] = f"blocks.{{i}}.mlp.w12.{leaf}"
            names[f"blocks.{{i}}.mlp.fc2.{leaf}"] = f"blocks.{{i}}.mlp.w3.{leaf}"
    if chunked:
        return {n: f.replace("blocks.", "blocks.{c}.") for n, f in names.items()}
    return names


_POOLING = asked("the backbone gives every token")
_DINOV2_ASSUMES = assumptions(
    "facebookresearch/dinov2 b8931f7, AICONSlab/3DINO 85bd443",
    activation="gelu; silu where the MLP is gated",
    epsilon="1e-06",
    pooling="class token, as its own forward gives it, unless stated",
)
_HEAD = "projection head of the self-supervised training"
_HEADS = dict.fromkeys(("dino_head.", "ibot_head.", *timm.DINO_HEAD), _HEAD)


USUAL_CHUNKS = 4
_CHUNKED = re.compile(r"facebook@dinov2(\+swiglu)?\+chunked([1-9]\d{0,2})")


def _dinov2_variant(gated: bool, chunks: int = 0) -> Variant:
    """Args: the number that `block_chunks` was, 0 for blocks that are in none."""
    words = ["dinov2", *["swiglu"] * gated, *["chunked"] * bool(chunks)]
    family = f"facebook@{'+'.join(words)}"
    name = family if chunks in (0, USUAL_CHUNKS) else f"{family}{chunks}"
    fc1 = "w12" if gated else "fc1"
    block = "blocks.0.0" if chunks else "blocks.0"
    names = {f"{block}.attn.qkv.weight", f"{block}.mlp.{fc1}.weight", "mask_token"}
    return Variant(
        name,
        Table(name, renamed(_names(gated, chunks > 0)), chunks=max(chunks, 1)),
        frozenset(names | {PATCHES}),
        frozenset({"decoder_embed.weight", "rope_embed.periods", "storage_tokens"}),
        says=_dinov2,
        output={"global_pool": "token"},
        drops=_drops,
        fills=lambda config: {"mask_token": Fill((1, config.embed_dim))},
        holds=lambda config: _dinov2_holds(config, gated, chunks),
        around=_HEADS,
        family=family if chunks else "",
        numbered=(lambda names: _in_chunks(gated, names)) if chunks else None,
        # torch.hub's classifiers: over class token and mean of the patches.
        wrappers=(Wrapper("backbone.", "linear_head", "token_avg"),),
        assumes=_DINOV2_ASSUMES,
    )


def _in_chunks(gated: bool, names: Collection[str]) -> Variant:
    """The variant with as many chunks as a file has, by its first one's blocks."""
    norms = [name for name in names if _NORM.fullmatch(name)]
    first = sum(name.startswith("blocks.0.") for name in norms)
    return _dinov2_variant(gated, len(norms) // max(first, 1) or USUAL_CHUNKS)


_NORM = re.compile(r"blocks\.\d+\.\d+\.norm1\.weight")


def _generated(name: str) -> Variant | None:
    found = _CHUNKED.fullmatch(name)
    return _dinov2_variant(bool(found[1]), int(found[2])) if found else None


def _dinov2_holds(config: ViTConfig, gated: bool, chunks: int) -> Iterator[str]:
    yield from (line for line in _shared(config) if not line.startswith("spatial"))
    if config.spatial_dims == 3 and config.reg_tokens:
        yield f"reg_tokens: {config.reg_tokens}; 3DINO has none"
    if (config.mlp_layer == "swiglu") != gated:
        yield f"mlp_layer: {config.mlp_layer!r}; another variant has this one"
    if config.num_classes:
        yield f"num_classes: {config.num_classes}; DINOv2's backbone has no head"
    if not config.class_token or config.dist_token or config.pre_norm:
        yield "class_token: DINOv2 has one, no distillation token and no pre_norm"
    if config.num_pos_tokens != config.num_patches + 1:
        yield f"pos_embed_tokens: {config.pos_embed_tokens!r}; DINOv2's is 'cls'"
    if config.depth < chunks:
        yield f"depth: {config.depth}; too few for {chunks} chunks"


def _deit3_holds(config: ViTConfig) -> Iterator[str]:
    yield from _shared(config)
    if config.init_values is None:
        yield "init_values: None; DeiT-3 has a layer scale"
    if config.reg_tokens or config.dist_token or not config.class_token:
        yield "class_token: DeiT-3 has this one only"
    if config.num_pos_tokens != config.num_patches:
        yield f"pos_embed_tokens: {config.pos_embed_tokens!r}; DeiT-3's is 'patch'"


def _shared(config: ViTConfig) -> Iterator[str]:
    for line in timm.holds(config):
        if not line.startswith("pos_embed_tokens"):
            yield line
    if config.norm_eps != 1e-6:
        yield f"norm_eps: {config.norm_eps}; it is 1e-06 in Facebook's models"
    wanted = "silu" if config.mlp_layer == "swiglu" else "gelu"
    if config.act_layer != wanted:
        yield f"act_layer: {config.act_layer!r}; it is {wanted!r} in Facebook's models"


_DEIT3 = timm.identity() | {
    "blocks.{i}.ls1.gamma": "blocks.{i}.gamma_1",
    "blocks.{i}.ls2.gamma": "blocks.{i}.gamma_2",
}
_DECODER = "decoder of the masked autoencoder: only the encoder is taken"


def _plain_says(**more: Any) -> Callable[[Shapes], Mapping[str, Any]]:
    def says(shapes: Shapes) -> Mapping[str, Any]:
        pool = "avg" if "fc_norm.weight" in shapes else "token"
        pooled = {"global_pool": pool} if "head.weight" in shapes else {}
        shared = {"norm_eps": 1e-6, "act_layer": "gelu", "pool_include_prefix": False}
        return {**timm.says(shapes), **shared, **pooled, **more}

    return says


_PLAIN = demands.holds(
    "Facebook's ViT",
    demands.PLAIN,
    class_token=True,
    qkv_bias=True,
    dist_token=...,
    distilled=...,
    final_norm=...,
    fc_norm=...,
)


def _plain_holds(config: ViTConfig) -> Iterator[str]:
    yield from _shared(config)
    yield from _PLAIN(config)
    if config.fc_norm == config.final_norm:
        yield f"fc_norm: {config.fc_norm}; these models have it or final_norm"
    wanted = "avg" if config.fc_norm else "token"
    if config.num_classes and config.global_pool != wanted:
        yield f"global_pool: {config.global_pool!r}; with a head here {wanted!r}"
    if config.num_pos_tokens != config.num_tokens:
        yield f"pos_embed_tokens: {config.pos_embed_tokens!r}; here all have one"


def _jepa_holds(dims: int) -> demands.Holds:
    def holds(config: ViTConfig) -> Iterator[str]:
        yield from (line for line in _shared(config) if not line.startswith("spatial"))
        if config.spatial_dims != dims:
            yield f"spatial_dims: {config.spatial_dims}; this one is {dims}D"
        if config.num_prefix_tokens or config.global_pool != "none":
            yield f"global_pool: {config.global_pool!r}; it gives patches, all of them"
        if config.pos_embed == "none" or config.fc_norm or not config.final_norm:
            yield "pos_embed, final_norm, fc_norm: it has positions and a final norm"
        if (
            config.mlp_layer != "mlp"
            or config.init_values
            or config.patch_norm != "none"
        ):
            yield "mlp_layer, init_values, patch_norm: its blocks are plain"

    return holds


def _told(
    name: str,
    says: Callable[[Shapes], Mapping[str, Any]],
    holds: demands.Holds,
    assumes: Assumptions,
    **more: Any,
) -> Variant:
    """Timm's names, and what these models share."""
    return Variant(
        f"facebook@{name}",
        Table(f"facebook@{name}", CANONICAL.rows),
        frozenset({QKV, PATCHES, "blocks.0.mlp.fc1.weight"}),
        says=says,
        holds=holds,
        around=_HEADS,
        told=True,
        assumes=assumes,
        **more,
    )


def _assumed(code: str, pooling: Assumption | str, **more: Any) -> Assumptions:
    return assumptions(
        f"facebookresearch/{code}",
        activation="gelu",
        epsilon="1e-06",
        pooling=pooling,
        **more,
    )


_HEADED = Assumption(
    "class token, or with fc_norm the mean of the patches",
    "tensors or asked",
    "asked without a head",
)
_ROPE_VIT = Assumption(
    "none", "asked", "RoPE-ViT with a position table has DeiT-3's names"
)
_V_JEPA_2 = Assumption(
    "none", "asked", "V-JEPA 2 has V-JEPA's names, and a table that it does not read"
)


_JEPA = {"pos_embed": "sincos", "class_token": False, "global_pool": "none"}

FACEBOOK = Dialect(
    "facebook",
    "Facebook's DINO, DINOv2, DeiT, MAE, I-JEPA and V-JEPA; 3DINO",
    (
        *(
            _dinov2_variant(gated, chunks)
            for chunks in (0, USUAL_CHUNKS)
            for gated in (False, True)
        ),
        Variant(
            "facebook@deit3",
            Table("facebook@deit3", renamed(_DEIT3)),
            # Of the same names are timm's rotary ViTs: without a position table.
            frozenset({QKV, PATCHES, "blocks.0.gamma_1", "pos_embed", "cls_token"}),
            frozenset({"blocks.0.attn.q_bias", "rope_embed.periods", "reg_token"}),
            says=lambda shapes: {
                **timm.says(shapes),
                "norm_eps": 1e-6,
                "act_layer": "gelu",
            },
            holds=_deit3_holds,
            assumes=_assumed("deit 7e160fe", asked(), rotary=_ROPE_VIT),
            doubts=doubts.of_deit3,
            architectures=True,
        ),
        Variant(
            "facebook@mae",
            Table("facebook@mae", renamed(timm.identity())),
            frozenset({QKV, PATCHES, "mask_token", "decoder_embed.weight"}),
            says=lambda shapes: {
                **timm.says(shapes),
                "norm_eps": 1e-6,
                "act_layer": "gelu",
                "pos_resize": "bicubic",
            },
            # `models_vit.VisionTransformer`, its encoder: the class token as a default.
            output={"global_pool": "token"},
            drops=_drops,
            beside={"decoder_": _DECODER},
            assumes=_assumed("mae efb2a80", _POOLING),
            # MAE's own class has the decoder, too; `facebook@vit` is its encoder's.
            export=False,
        ),
        _told(
            "vit",
            _plain_says(pos_resize="bicubic"),
            _plain_holds,
            _assumed("deit 7e160fe, mae efb2a80", _HEADED),
        ),
        _told(
            "dino",
            _plain_says(pos_resize="bicubic_offset"),
            _plain_holds,
            _assumed("dino 7c446df", _HEADED),
        ),
        _told(
            "ijepa",
            _plain_says(pos_resize="bicubic", **_JEPA),
            _jepa_holds(2),
            _assumed("ijepa 52c1ae9", "none: every token"),
        ),
        _told(
            "vjepa",
            _plain_says(pos_resize="bilinear", spatial_dims=3, **_JEPA),
            _jepa_holds(3),
            _assumed("jepa 51c59d5", "none: every token", rotary=_V_JEPA_2),
            doubts=doubts.of_v_jepa,
        ),
    ),
    generated=_generated,
    places=timm.PLACES,
)

DIALECTS = (FACEBOOK,)
