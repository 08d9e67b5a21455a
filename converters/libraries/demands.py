"""What a library can write, as data: the one value each field may have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from vit_config import ViTConfig

Holds = Callable[[ViTConfig], Iterable[str]]

PLAIN: dict[str, Any] = {
    "mlp_layer": "mlp",
    "patch_norm": "none",
    "patch_bias": True,
    "pre_norm": False,
    "dist_token": False,
    "distilled": False,
    "reg_tokens": 0,
    "qk_norm": False,
    "init_values": None,
    "proj_bias": True,
    "mlp_bias": True,
    "final_norm": True,
    "fc_norm": False,
    "pool_include_prefix": False,
    "representation_size": None,
    "head_bias": True,
    "head_act": None,
}
"""A ViT without any extra: what most libraries have."""


def holds(library: str, only: Mapping[str, Any], **changes: Any) -> Holds:
    """Checks fields against the values that a library's model has.

    Args:
        library: The model, for the messages.
        only: The value of each field; a tuple lists several.
        **changes: Fields that stand above those of `only`; `...` takes one out.
    """
    wanted = {**only, **changes}
    fixed = {field: value for field, value in wanted.items() if value is not ...}

    def problems(config: ViTConfig) -> Iterator[str]:
        for field, value in fixed.items():
            found = getattr(config, field)
            allowed = value if isinstance(value, tuple) else (value,)
            if found not in allowed:
                words = " or ".join(repr(choice) for choice in allowed)
                yield f"{field}: {found!r}; in {library} only {words}"

    return problems


def both(*parts: Holds) -> Holds:
    """All the problems of several checks."""

    def problems(config: ViTConfig) -> Iterator[str]:
        for part in parts:
            yield from part(config)

    return problems


def positions_for_all(library: str) -> Holds:
    """The position table has a row for every token."""

    def problems(config: ViTConfig) -> Iterator[str]:
        if config.pos_embed == "none":
            yield f"pos_embed: 'none'; {library} always adds a table"
        elif config.num_pos_tokens != config.num_tokens:
            yield (
                f"pos_embed_tokens: {config.pos_embed_tokens!r}; in {library} every "
                "token has a position"
            )

    return problems


def own_head_dim(library: str) -> Holds:
    """Heads are as wide as they are many: the width of the model divided by them."""

    def problems(config: ViTConfig) -> Iterator[str]:
        if config.attn_dim != config.embed_dim:
            yield f"head_dim: {config.head_dim}; {library}'s is embed_dim / num_heads"

    return problems


def pooled_by(library: str, head: str, bare: str) -> Holds:
    """How a model with classes pools, and what one without gives."""

    def problems(config: ViTConfig) -> Iterator[str]:
        wanted = head if config.num_classes else bare
        if config.global_pool != wanted:
            kind = "with a head" if config.num_classes else "without a head"
            yield f"global_pool: {config.global_pool!r}; {library} {kind}: {wanted!r}"

    return problems


def spatial(library: str, dims: int) -> Holds:
    """Images only, or volumes only."""

    def problems(config: ViTConfig) -> Iterator[str]:
        if config.spatial_dims != dims:
            yield f"spatial_dims: {config.spatial_dims}; {library} is {dims}D"

    return problems
