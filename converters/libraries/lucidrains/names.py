"""lucidrains' vit-pytorch: `ViT`, `SimpleViT` and their 3D forms, current generation.

The layers of a block are numbers: `0` is the attention, `1.net` the MLP with its norm
inside. Where there is dropout, the MLP's second layer is number 4, else 3. `SimpleViT`
computes its positions: no file of it has them.

Up to 1.16.1 the patches of a volume were flattened in another order, under the same
names and in the same shapes: whoever has such a file must say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries import demands, positions
from converters.libraries.lucidrains import names_older as lucidrains_older
from converters.libraries.lucidrains.names_parts import (
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
    mean_holds,
    mean_of_all,
    modules,
    own_demands,
    simple_width,
    variant,
)
from converters.libraries.variant import Dialect, Fill, Shapes, renamed
from converters.mapping.table import Row
from converters.wording import options
from vit_config import ViTConfig


def _class_token(config: ViTConfig) -> bool:
    return config.class_token


def _positions(config: ViTConfig) -> bool:
    return config.pos_embed != "none"


_VIT = renamed(
    modules("to_out.0", 4) | {"norm": "transformer.norm", "head": "mlp_head"},
    (
        Row((CLASS,), ("cls_token",), "r d -> 1 r d", _class_token),
        Row(("pos_embedding",), ("pos_embed",), "n d -> 1 n d", _positions),
    ),
)
_VIT_3D = renamed(
    modules("to_out.0", 4)
    | {
        "cls_token": CLASS,
        "pos_embed": "pos_embedding",
        "fc_norm": "mlp_head.0",
        "head": "mlp_head.1",
    }
)
_SIMPLE = renamed(
    modules("to_out", 3) | {"norm": "transformer.norm", "head": "linear_head"}
)


def _empty(config: ViTConfig) -> Mapping[str, str]:
    if config.class_token:
        return {}
    return {CLASS: "a class token of no rows, which the mean has no use for"}


def _fill_empty(config: ViTConfig) -> Mapping[str, Fill]:
    return {} if config.class_token else {CLASS: Fill((0, config.embed_dim))}


def _says_vit(shapes: Shapes) -> Mapping[str, Any]:
    has_class = shapes.get(CLASS, (0,))[0] > 0
    head = "mlp_head.weight" in shapes
    pool = "none" if not head else "token" if has_class else "avg"
    said = {"spatial_dims": 2, "class_token": has_class, "global_pool": pool}
    return {**SHARED, **said}


def _says_3d(shapes: Shapes) -> Mapping[str, Any]:
    return {**SHARED, "spatial_dims": 3}


def _says_simple(shapes: Shapes) -> Mapping[str, Any]:
    return {**SHARED, "pos_embed": "sincos", "global_pool": "avg"}


def _pool(config: ViTConfig) -> list[str]:
    wanted = "token" if config.class_token else "avg"
    if config.num_classes and config.global_pool != wanted:
        return [f"global_pool: {config.global_pool!r}; with these tokens {wanted!r}"]
    if not config.num_classes and config.global_pool != "none":
        return [f"global_pool: {config.global_pool!r}; without a head 'none'"]
    return []


def _two_ranks(shapes: Shapes) -> bool:
    """The class token of 1.16.1 and later; before, it was of three axes."""
    return len(shapes.get(CLASS, (0, 0))) == 2


def _volume_unsure(config: ViTConfig) -> list[str]:
    if config.spatial_dims == 2:
        return []
    return [
        "the patches of simple_vit_3d were in another order up to vit-pytorch 1.16.1, "
        "which its names do not tell: say "
        f"{options(from_dialect='lucidrains@simple_vit_3d')}, or "
        "lucidrains@simple_vit_3d-1.4 for a file of 1.4 to 1.16.1"
    ]


LUCIDRAINS = Dialect(
    "lucidrains",
    "lucidrains' vit-pytorch",
    (
        variant(
            "vit",
            _VIT,
            {QKV, *PATCHES, CLASS, NORM, f"{FIRST}.1.net.4.weight"},
            {"linear_head.weight"},
            _says_vit,
            demands.spatial("vit-pytorch's ViT", 2),
            own_demands("ViT"),
            demands.positions_for_all("vit-pytorch's ViT"),
            _pool,
            fits=_two_ranks,
            drops=_empty,
            fills=_fill_empty,
        ),
        variant(
            "vit_3d",
            _VIT_3D,
            {QKV, *PATCHES, CLASS, *HEADS},
            {NORM},
            _says_3d,
            demands.spatial("vit-pytorch's vit_3d", 3),
            own_demands("vit_3d", **HEADED),
            demands.positions_for_all("vit-pytorch's vit_3d"),
            mean_holds,
            classes,
            follows=mean_of_all,
        ),
        variant(
            "simple_vit",
            _SIMPLE,
            {QKV, *PATCHES, "linear_head.weight", NORM},
            {CLASS, "pos_embedding", f"{FIRST}.1.net.4.weight"},
            _says_simple,
            demands.spatial("SimpleViT", 2),
            own_demands("SimpleViT", **SIMPLE_HOLDS),
            classes,
            simple_width,
            computed=positions.SIMPLE_VIT,
            unsure=_volume_unsure,
        ),
        variant(
            "simple_vit_3d",
            _SIMPLE,
            {QKV, *PATCHES, "linear_head.weight", NORM},
            {CLASS, "pos_embedding", f"{FIRST}.1.net.4.weight"},
            lambda shapes: {**_says_simple(shapes), "spatial_dims": 3},
            demands.spatial("simple_vit_3d", 3),
            own_demands("simple_vit_3d", **SIMPLE_HOLDS),
            classes,
            simple_width,
            computed=positions.SIMPLE_VIT,
            told=True,
        ),
        *lucidrains_older.VARIANTS,
    ),
    config="lucidrains",
    places={
        "num_heads": "model.transformer.layers[0][0].heads",
        "img_size": "the argument image_size",
        "patch_size": "the argument patch_size",
        "global_pool": "model.pool",
    },
)

DIALECTS = (LUCIDRAINS,)
