"""lucidrains' vit-pytorch: `ViT`, `SimpleViT` and their 3D forms, current generation.

The layers of a block are numbers: `0` is the attention, `1.net` the MLP with its norm
inside. Where there is dropout, the MLP's second layer is number 4, else 3. `SimpleViT`
computes its positions: no file of it has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from converters.dialects import demands, positions
from converters.dialects.base import Dialect, Fill, Names, Shapes, Variant, renamed
from converters.rules import Row, Table
from vit_config import ViTConfig

ATTENTION, MLP = "transformer.layers.{i}.0", "transformer.layers.{i}.1.net"
PATCHES = {f"to_patch_embedding.{n}.weight" for n in (1, 2, 3)}
FIRST = "transformer.layers.0"
QKV = f"{FIRST}.0.to_qkv.weight"
CLASS = "cls_token"


def _modules(out: str, fc2: int) -> dict[str, Names]:
    return {
        "patch_embed.norm_pre": "to_patch_embedding.1",
        "patch_embed.proj": "to_patch_embedding.2",
        "patch_embed.norm": "to_patch_embedding.3",
        "blocks.{i}.norm1": f"{ATTENTION}.norm",
        "blocks.{i}.attn.qkv": f"{ATTENTION}.to_qkv",
        "blocks.{i}.attn.proj": f"{ATTENTION}.{out}",
        "blocks.{i}.norm2": f"{MLP}.0",
        "blocks.{i}.mlp.fc1": f"{MLP}.1",
        "blocks.{i}.mlp.fc2": f"{MLP}.{fc2}",
    }


def _class_token(config: ViTConfig) -> bool:
    return config.class_token


def _positions(config: ViTConfig) -> bool:
    return config.pos_embed != "none"


_VIT = renamed(
    _modules("to_out.0", 4) | {"norm": "transformer.norm", "head": "mlp_head"},
    (
        Row((CLASS,), ("cls_token",), "r d -> 1 r d", _class_token),
        Row(("pos_embedding",), ("pos_embed",), "n d -> 1 n d", _positions),
    ),
)
_VIT_3D = renamed(
    _modules("to_out.0", 4)
    | {
        "cls_token": CLASS,
        "pos_embed": "pos_embedding",
        "fc_norm": "mlp_head.0",
        "head": "mlp_head.1",
    }
)
_SIMPLE = renamed(
    _modules("to_out", 3) | {"norm": "transformer.norm", "head": "linear_head"}
)


def _sizes(config: ViTConfig) -> Any:
    from vit_config.weights import axis_sizes

    return {**axis_sizes(config), "r": 1}  # the class token's rows: there are no others


def _empty(config: ViTConfig) -> Mapping[str, str]:
    if config.class_token:
        return {}
    return {CLASS: "a class token of no rows, which the mean has no use for"}


def _fill_empty(config: ViTConfig) -> Mapping[str, Fill]:
    return {} if config.class_token else {CLASS: Fill((0, config.embed_dim))}


_SHARED = {
    "norm_eps": 1e-5,
    "act_layer": "gelu",
    "weight_init": "monai",
    "pos_embed_tokens": "all",
}


def _says_vit(shapes: Shapes) -> Mapping[str, Any]:
    has_class = shapes.get(CLASS, (0,))[0] > 0
    head = "mlp_head.weight" in shapes
    pool = "none" if not head else "token" if has_class else "avg"
    return {**_SHARED, "class_token": has_class, "global_pool": pool}


def _says_3d(shapes: Shapes) -> Mapping[str, Any]:
    return {**_SHARED, "spatial_dims": 3}


def _says_simple(shapes: Shapes) -> Mapping[str, Any]:
    return {**_SHARED, "pos_embed": "sincos", "global_pool": "avg"}


def _demands(name: str, **changes: Any) -> demands.Holds:
    return demands.holds(
        f"vit-pytorch's {name}",
        demands.PLAIN,
        **{
            "norm_eps": 1e-5,
            "act_layer": "gelu",
            "patch_norm": "dual",
            "qkv_bias": False,
            **changes,
        },
    )


def _one_head(config: ViTConfig) -> list[str]:
    if config.num_heads == 1 and config.attn_dim == config.embed_dim:
        return ["num_heads: 1 as wide as the model; vit-pytorch has no proj then"]
    return []


def _mean_of_all(known: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where the mean is taken of all tokens, the class token among them."""
    return {"pool_include_prefix": known.get("global_pool") == "avg"}


def _rows_3d(config: ViTConfig) -> list[str]:
    if config.pool_include_prefix != (config.global_pool == "avg"):
        return ["pool_include_prefix: the mean of vit-pytorch's vit_3d includes it"]
    return []


def _classes(config: ViTConfig) -> list[str]:
    return [] if config.num_classes else ["num_classes: 0; this class has a head"]


def _simple_width(config: ViTConfig) -> list[str]:
    if config.spatial_dims == 2 and config.embed_dim % 4:
        return [f"embed_dim: {config.embed_dim}; SimpleViT's positions need 4 parts"]
    if config.embed_dim < 4 * config.spatial_dims:
        return [f"embed_dim: {config.embed_dim}; too narrow for SimpleViT's positions"]
    return []


def _pool(config: ViTConfig) -> list[str]:
    wanted = "token" if config.class_token else "avg"
    if config.num_classes and config.global_pool != wanted:
        return [f"global_pool: {config.global_pool!r}; with these tokens {wanted!r}"]
    if not config.num_classes and config.global_pool != "none":
        return [f"global_pool: {config.global_pool!r}; without a head 'none'"]
    return []


def _variant(
    name: str,
    rows: tuple[Row, ...],
    signature: set[str],
    absent: set[str],
    says: Callable[[Shapes], Mapping[str, Any]],
    *holds: demands.Holds,
    **more: Any,
) -> Variant:
    return Variant(
        f"lucidrains@{name}",
        Table(f"lucidrains@{name}", rows, _sizes),
        frozenset({QKV, *PATCHES, *signature}),
        frozenset(absent),
        says=says,
        holds=demands.both(*holds, _one_head),
        **more,
    )


_simple_holds = _demands(
    "SimpleViT",
    class_token=False,
    proj_bias=False,
    global_pool="avg",
    pos_embed="sincos",
)

LUCIDRAINS = Dialect(
    "lucidrains",
    "lucidrains' vit-pytorch",
    (
        _variant(
            "vit",
            _VIT,
            {CLASS, "transformer.norm.weight", f"{FIRST}.1.net.4.weight"},
            {"linear_head.weight"},
            _says_vit,
            demands.spatial("vit-pytorch's ViT", 2),
            _demands("ViT"),
            demands.positions_for_all("vit-pytorch's ViT"),
            _pool,
            drops=_empty,
            fills=_fill_empty,
        ),
        _variant(
            "vit_3d",
            _VIT_3D,
            {CLASS, "mlp_head.0.weight", "mlp_head.1.weight"},
            {"transformer.norm.weight"},
            _says_3d,
            demands.spatial("vit-pytorch's vit_3d", 3),
            _demands(
                "vit_3d",
                class_token=True,
                final_norm=False,
                fc_norm=True,
                fc_norm_eps=(None, 1e-5),
                global_pool=("token", "avg"),
                pool_include_prefix=...,
            ),
            demands.positions_for_all("vit-pytorch's vit_3d"),
            _rows_3d,
            _classes,
            follows=_mean_of_all,
        ),
        _variant(
            "simple_vit",
            _SIMPLE,
            {"linear_head.weight", "transformer.norm.weight"},
            {CLASS, "pos_embedding", f"{FIRST}.1.net.4.weight"},
            _says_simple,
            _simple_holds,
            _classes,
            _simple_width,
            computed=positions.SIMPLE_VIT,
        ),
    ),
    config="lucidrains",
)

DIALECTS = (LUCIDRAINS,)
