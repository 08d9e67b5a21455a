"""Files of vit-pytorch before 1.16.2, generation by generation.

- `-0`, before 1.0: no norms around the patch projection; attention and MLP behind `fn`,
  their norms outside; a LayerNorm in the head. `ViT` in 2D and 3D have the same names.
- `-1.0` to 1.3 (3D to 1.4): norms on either side of the patch projection.
- `-1.4` to 1.16.0 (2D): `fn` is gone, the final norm is the transformer's, the head one
  layer; class token and positions have three axes. The mean still includes the class
  token; 1.16.0 alone has none then.
- `vit_3d-1.5` and `simple_vit_3d-1.4`, both to 1.16.1: the names of today, but the
  frames of a patch after its rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries import demands, positions
from converters.libraries.lucidrains.names_parts import (
    ATTENTION,
    CLASS,
    FIRST,
    HEADED,
    HEADS,
    NORM,
    PATCHES,
    QKV,
    SHARED,
    SIMPLE_HOLDS,
    classes,
    frames_last,
    mean_holds,
    mean_of_all,
    modules,
    own_demands,
    simple_width,
    variant,
    without_norms,
)
from converters.libraries.variant import Fill, Names, Shapes, Variant, renamed
from converters.mapping.table import Row
from vit_config import ViTConfig

_FN_QKV = f"{FIRST}.0.fn.to_qkv.weight"
_SIMPLE_HEADS = {"linear_head.0.weight", "linear_head.1.weight"}
_DUAL = {"patch_norm": "dual"}
_SINGLE = {"patch_norm": "none"}


def _patches(normed: bool) -> dict[str, Names]:
    if normed:
        return {
            "patch_embed.proj.bias": "to_patch_embedding.2.bias",
            "patch_embed.norm": "to_patch_embedding.3",
        }
    return {"patch_embed.proj.bias": "to_patch_embedding.1.bias"}


def _behind_fn() -> dict[str, Names]:
    """Attention and MLP, each behind a module that norms what goes in."""
    mlp = "transformer.layers.{i}.1"
    return {
        "cls_token": CLASS,
        "pos_embed": "pos_embedding",
        "blocks.{i}.norm1": f"{ATTENTION}.norm",
        "blocks.{i}.attn.qkv": f"{ATTENTION}.fn.to_qkv",
        "blocks.{i}.attn.proj": f"{ATTENTION}.fn.to_out.0",
        "blocks.{i}.norm2": f"{mlp}.norm",
        "blocks.{i}.mlp.fc1": f"{mlp}.fn.net.0",
        "blocks.{i}.mlp.fc2": f"{mlp}.fn.net.3",
        "fc_norm": "mlp_head.0",
        "head": "mlp_head.1",
    }


def _blocks(out: str, fc2: int) -> dict[str, Names]:
    found = modules(out, fc2)
    return {name: theirs for name, theirs in found.items() if "blocks" in name}


def _patch_rows(normed: bool) -> tuple[Row, ...]:
    return frames_last() if normed else without_norms()


def _patch_names(normed: bool) -> tuple[set[str], set[str]]:
    """Names that prove the norms around the patch projection, or their absence."""
    if normed:
        return PATCHES, set()
    return {"to_patch_embedding.1.weight"}, {"to_patch_embedding.2.weight"}


def _headed_vit(name: str, normed: bool) -> Variant:
    """Before 1.4, in 3D before 1.5."""
    present, absent = _patch_names(normed)
    return variant(
        name,
        renamed({**_patches(normed), **_behind_fn()}, _patch_rows(normed)),
        {_FN_QKV, CLASS, *HEADS, *present},
        absent,
        lambda shapes: SHARED,
        own_demands("ViT of that age", **HEADED, **(_DUAL if normed else _SINGLE)),
        demands.positions_for_all("vit-pytorch's ViT"),
        mean_holds,
        classes,
        follows=mean_of_all,
    )


def _class_rows(config: ViTConfig) -> bool:
    return config.class_token


def _says_1_4(shapes: Shapes) -> Mapping[str, Any]:
    rows = (*shapes.get(CLASS, ()), 0, 0)[1]
    return {**SHARED, "class_token": rows > 0}


def _no_rows(config: ViTConfig) -> Mapping[str, str]:
    if config.class_token:
        return {}
    return {CLASS: "a class token of no rows, which the mean has no use for"}


_VIT_1_4 = variant(
    "vit-1.4",
    renamed(
        modules("to_out.0", 4)
        | {
            "pos_embed": "pos_embedding",
            "norm": "transformer.norm",
            "head": "mlp_head",
        },
        (Row((CLASS,), ("cls_token",), "1 r d -> 1 r d", _class_rows),),
    ),
    {QKV, *PATCHES, CLASS, NORM, f"{FIRST}.1.net.4.weight"},
    {"linear_head.weight"},
    _says_1_4,
    demands.spatial("vit-pytorch's ViT", 2),
    own_demands("ViT", global_pool=("token", "avg"), pool_include_prefix=...),
    demands.positions_for_all("vit-pytorch's ViT"),
    lambda config: mean_holds(config) if config.class_token else [],
    classes,
    fits=lambda shapes: len(shapes.get(CLASS, (0, 0, 0))) == 3,
    follows=lambda known: mean_of_all(known) if known.get("class_token") else {},
    drops=_no_rows,
    fills=lambda config: (
        {} if config.class_token else {CLASS: Fill((1, 0, config.embed_dim))}
    ),
)
_VIT_3D_1_5 = variant(
    "vit_3d-1.5",
    renamed(
        _blocks("to_out.0", 4)
        | {
            **_patches(normed=True),
            "cls_token": CLASS,
            "pos_embed": "pos_embedding",
            "fc_norm": "mlp_head.0",
            "head": "mlp_head.1",
        },
        frames_last(),
    ),
    {QKV, *PATCHES, CLASS, *HEADS},
    {NORM},
    lambda shapes: {**SHARED, "spatial_dims": 3},
    demands.spatial("vit-pytorch's vit_3d", 3),
    own_demands("vit_3d", **HEADED),
    demands.positions_for_all("vit-pytorch's vit_3d"),
    mean_holds,
    classes,
    follows=mean_of_all,
)


def _says_simple(shapes: Shapes) -> Mapping[str, Any]:
    return {**SHARED, "pos_embed": "sincos", "global_pool": "avg"}


def _headed_simple(name: str, normed: bool) -> Variant:
    """SimpleViT before 1.4, in 2D and 3D."""
    present, absent = _patch_names(normed)
    names = {"fc_norm": "linear_head.0", "head": "linear_head.1"}
    return variant(
        name,
        renamed(
            {**_patches(normed), **_blocks("to_out", 3), **names}, _patch_rows(normed)
        ),
        {QKV, *_SIMPLE_HEADS, *present},
        {*absent, CLASS, NORM},
        _says_simple,
        own_demands(
            "SimpleViT of that age",
            **SIMPLE_HOLDS,
            **(_DUAL if normed else _SINGLE),
            final_norm=False,
            fc_norm=True,
            fc_norm_eps=(None, 1e-5),
        ),
        classes,
        simple_width,
        computed=positions.SIMPLE_VIT,
    )


_SIMPLE_3D_1_4 = variant(
    "simple_vit_3d-1.4",
    renamed(
        _blocks("to_out", 3)
        | {
            **_patches(normed=True),
            "norm": "transformer.norm",
            "head": "linear_head",
        },
        frames_last(),
    ),
    {QKV, *PATCHES, "linear_head.weight", NORM},
    {CLASS, "pos_embedding", f"{FIRST}.1.net.4.weight"},
    lambda shapes: {**_says_simple(shapes), "spatial_dims": 3},
    demands.spatial("simple_vit_3d", 3),
    own_demands("simple_vit_3d", **SIMPLE_HOLDS),
    classes,
    simple_width,
    computed=positions.SIMPLE_VIT,
    told=True,
)

VARIANTS: tuple[Variant, ...] = (
    _VIT_1_4,
    _headed_vit("vit-1.0", normed=True),
    _headed_vit("vit-0", normed=False),
    _VIT_3D_1_5,
    _SIMPLE_3D_1_4,
    _headed_simple("simple_vit-1.0", normed=True),
    _headed_simple("simple_vit-0", normed=False),
)
