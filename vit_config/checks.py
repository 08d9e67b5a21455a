"""What no single field can say wrong: checks over the whole configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vit_config.data_checks import data_problems

if TYPE_CHECKING:
    from vit_config.config import ViTConfig


def whole_problems(config: ViTConfig) -> list[str]:
    """Returns one line per contradiction: field, value found, what would be right."""
    return [
        *(_axes_problems(config) or _geometry_problems(config)),
        *_token_problems(config),
        *_output_problems(config),
        *_meaning_problems(config),
    ]


def _axes_problems(c: ViTConfig) -> list[str]:
    return [
        f"{field}: {size} has {len(size)} axes; spatial_dims={c.spatial_dims} needs "
        f"{c.spatial_dims}, or one int for all"
        for field, size in (("img_size", c.img_size), ("patch_size", c.patch_size))
        if len(size) != c.spatial_dims
    ]


def _geometry_problems(c: ViTConfig) -> list[str]:
    problems = []
    for axis, (size, patch) in enumerate(zip(c.img_size, c.patch_size, strict=True)):
        if size % patch:
            multiples = (size // patch * patch, (size // patch + 1) * patch)
            near = " or ".join(str(multiple) for multiple in multiples if multiple)
            problems.append(
                f"img_size: {size} on axis {axis} is not a multiple of patch_size "
                f"{patch}; {near} would be"
            )
    if c.head_dim is None and c.embed_dim % c.num_heads:
        problems.append(
            f"num_heads: {c.num_heads} does not divide embed_dim {c.embed_dim}; "
            "choose a divisor, or state head_dim"
        )
    elif c.global_pool == "map" and c.embed_dim % c.num_heads:
        problems.append(
            f"num_heads: {c.num_heads} does not divide embed_dim {c.embed_dim}, which "
            "global_pool='map' needs whatever head_dim is"
        )
    if c.mlp_layer == "swiglu" and c.act_layer != "silu":
        problems.append(
            f"act_layer: {c.act_layer!r} with mlp_layer='swiglu', whose gate is 'silu'"
        )
    if c.mlp_layer == "swiglu" and c.global_pool == "map":
        problems.append(
            "mlp_layer: 'swiglu' with global_pool='map', whose own MLP is a plain one; "
            "no known model has both"
        )
    return problems


def _token_problems(c: ViTConfig) -> list[str]:
    problems = []
    if not c.class_token and c.dist_token:
        problems.append("dist_token: True needs class_token=True")
    if not c.class_token and c.global_pool in ("token", "token_avg"):
        problems.append(
            f"global_pool: {c.global_pool!r} needs class_token=True; without one use "
            "'avg', 'max', 'map' or 'none'"
        )
    if not c.class_token and c.pos_embed_tokens == "cls" and c.pos_embed != "none":
        problems.append(
            "pos_embed_tokens: 'cls' needs class_token=True; use 'all' or 'patch'"
        )
    if c.distilled and not (c.dist_token and c.global_pool == "token"):
        problems.append(
            "distilled: True needs dist_token=True and global_pool='token'; found "
            f"dist_token={c.dist_token}, global_pool={c.global_pool!r}"
        )
    if c.distilled and c.representation_size:
        problems.append(
            f"representation_size: {c.representation_size} with distilled=True; no "
            "known model has both"
        )
    if c.pool_include_prefix and c.global_pool in ("token", "none"):
        problems.append(
            f"pool_include_prefix: True means nothing with global_pool="
            f"{c.global_pool!r}; use it with 'avg', 'max', 'token_avg' or 'map'"
        )
    return problems


def _output_problems(c: ViTConfig) -> list[str]:
    problems = []
    if c.global_pool == "none":
        given = {
            "num_classes": c.num_classes,
            "fc_norm": c.fc_norm,
            "representation_size": c.representation_size,
        }
        problems += [
            f"{field}: {value} needs a pooled vector, but global_pool is 'none'"
            for field, value in given.items()
            if value
        ]
    if c.fc_norm_eps is not None and not c.fc_norm:
        problems.append(f"fc_norm_eps: {c.fc_norm_eps} without fc_norm=True")
    if c.head_act and not c.num_classes:
        problems.append(f"head_act: {c.head_act!r} without a head (num_classes=0)")
    return problems


def _meaning_problems(c: ViTConfig) -> list[str]:
    problems = []
    if c.problem_type and not c.num_classes:
        problems.append(
            f"problem_type: {c.problem_type!r} without a head (num_classes=0)"
        )
    if c.labels is not None and len(c.labels) != c.num_classes:
        problems.append(
            f"labels: {len(c.labels)} names for num_classes={c.num_classes}"
        )
    if c.data is not None:
        problems += data_problems(c.data, c.spatial_dims, c.in_chans)
    return problems
