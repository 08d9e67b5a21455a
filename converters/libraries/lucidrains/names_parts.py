"""What the generations of lucidrains' vit-pytorch have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from converters.libraries import demands
from converters.libraries.assumptions import Assumption, assumptions
from converters.libraries.variant import Names, Shapes, Variant
from converters.mapping.table import Condition, Row, Table
from vit_config import ViTConfig
from vit_config.weights import SYMBOLS, axis_sizes

ATTENTION, MLP = "transformer.layers.{i}.0", "transformer.layers.{i}.1.net"
PATCHES = {f"to_patch_embedding.{n}.weight" for n in (1, 2, 3)}
FIRST = "transformer.layers.0"
QKV = f"{FIRST}.0.to_qkv.weight"
CLASS = "cls_token"
NORM = "transformer.norm.weight"
HEADS = {"mlp_head.0.weight", "mlp_head.1.weight"}

SHARED = {
    "norm_eps": 1e-5,
    "act_layer": "gelu",
    "weight_init": "monai",
    "pos_embed_tokens": "all",
}
HEADED = {
    # Class token whatever the pooling, LayerNorm in the head, after it.
    "class_token": True,
    "final_norm": False,
    "fc_norm": True,
    "fc_norm_eps": (None, 1e-5),
    "global_pool": ("token", "avg"),
    "pool_include_prefix": ...,
}
POOLING = Assumption(
    "class token or mean; the mean of ViT up to 1.15 and of vit_3d has the class token "
    "in it",
    "tensors or asked",
    "asked where there is a class token whatever the pooling",
)
_AXES = frozenset("xyz")


def modules(out: str, fc2: int) -> dict[str, Names]:
    """The layers since 1.4, patches with a norm on either side."""
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


def _sizes(config: ViTConfig) -> Any:
    sides = config.patch_size if config.spatial_dims == 3 else (1, *config.patch_size)
    # The class token's rows: there are no others. Then frames, rows and columns.
    return {**axis_sizes(config), "r": 1, **dict(zip("zxy", sides, strict=True))}


def _dual(dims: int) -> Condition:
    return lambda c: c.patch_norm == "dual" and c.spatial_dims == dims


def _single(dims: int) -> Condition:
    return lambda c: c.patch_norm != "dual" and c.spatial_dims == dims


def frames_last() -> tuple[Row, ...]:
    """Patches of a volume up to 1.16.1: `(p1 p2 pf c)`; since then `(pf p1 p2 c)`."""
    norm, proj = "to_patch_embedding.1", "to_patch_embedding.2"
    moved = "(x y z c) -> (z x y c)"
    return tuple(
        Row((theirs,), (ours,), pattern, when)
        for theirs, ours, patterns in (
            *(
                (f"{norm}.{leaf}", f"patch_embed.norm_pre.{leaf}", ("f -> f", moved))
                for leaf in ("weight", "bias")
            ),
            (
                f"{proj}.weight",
                "patch_embed.proj.weight",
                ("d f -> d f", "d (x y z c) -> d (z x y c)"),
            ),
        )
        for pattern, when in zip(patterns, (_dual(2), _dual(3)), strict=True)
    )


def without_norms() -> tuple[Row, ...]:
    """Patches before 1.0: a linear layer alone, on patches with frames last."""
    names = ("to_patch_embedding.1.weight",), ("patch_embed.proj.weight",)
    return (
        Row(*names, "d (... c) -> d c ...", _single(2)),
        Row(*names, "d (x y z c) -> d c z x y", _single(3)),
    )


def own_demands(name: str, **changes: Any) -> demands.Holds:
    """What every generation fixes, and what `changes` says."""
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


def one_head(config: ViTConfig) -> list[str]:
    """The one head that vit-pytorch gives no output projection."""
    if config.num_heads == 1 and config.attn_dim == config.embed_dim:
        return ["num_heads: 1 as wide as the model; vit-pytorch has no proj then"]
    return []


def mean_of_all(known: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where the mean is taken of all tokens, the class token among them."""
    return {"pool_include_prefix": known.get("global_pool") == "avg"}


def mean_holds(config: ViTConfig) -> list[str]:
    """Whether the mean is what vit-pytorch takes."""
    if config.pool_include_prefix != (config.global_pool == "avg"):
        return ["pool_include_prefix: the mean of vit-pytorch's ViT has it included"]
    return []


def classes(config: ViTConfig) -> list[str]:
    """A head there is always."""
    return [] if config.num_classes else ["num_classes: 0; this class has a head"]


def simple_width(config: ViTConfig) -> list[str]:
    """Whether the width can hold SimpleViT's positions."""
    if config.spatial_dims == 2 and config.embed_dim % 4:
        return [f"embed_dim: {config.embed_dim}; SimpleViT's positions need 4 parts"]
    if config.embed_dim < 4 * config.spatial_dims:
        return [f"embed_dim: {config.embed_dim}; too narrow for SimpleViT's positions"]
    return []


def variant(
    name: str,
    rows: tuple[Row, ...],
    signature: set[str],
    absent: set[str],
    says: Callable[[Shapes], Mapping[str, Any]],
    *holds: demands.Holds,
    **more: Any,
) -> Variant:
    """One way of naming, with what all of them share."""
    return Variant(
        f"lucidrains@{name}",
        Table(f"lucidrains@{name}", rows, _sizes, SYMBOLS | _AXES),
        frozenset(signature),
        frozenset(absent),
        says=says,
        holds=demands.both(*holds, one_head),
        assumes=assumptions(
            "vit-pytorch 0.40 to 1.26",
            activation="gelu",
            epsilon="1e-05",
            pooling=POOLING,
        ),
        **more,
    )


SIMPLE_HOLDS = {
    "class_token": False,
    "proj_bias": False,
    "global_pool": "avg",
    "pos_embed": "sincos",
}
