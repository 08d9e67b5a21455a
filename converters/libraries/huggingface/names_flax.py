"""Hugging Face's Flax models, which transformers 5 can no longer read.

The modules are those of the PyTorch files, so the variants are made from theirs: dots
are slashes, kernels are Flax's, input by output, a norm has a `scale` and a table of
positions is an `embedding`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from converters.libraries.huggingface.names_tf import with_kernels
from converters.libraries.variant import Shapes, Variant
from converters.mapping.table import Row, Table
from vit_config import ViTConfig

_EMBEDDING = "position_embedding.weight"


def _name(name: str, kernel: bool, norm: bool) -> str:
    """A name of PyTorch's as Flax has it."""
    module, _, leaf = name.rpartition(".")
    if name.endswith(_EMBEDDING):
        leaf = "embedding"
    elif leaf == "weight":
        leaf = "kernel" if kernel else "scale"
    return f"{module.replace('.', '/')}/{leaf}" if module else leaf


def _back(shapes: Shapes) -> Shapes:
    """Names and shapes as PyTorch's file has them."""
    found = {}
    for name, shape in shapes.items():
        module, _, leaf = name.rpartition("/")
        theirs = (*shape[-1:], *shape[-2:-1], *shape[:-2])
        end = "weight" if leaf in ("kernel", "scale", "embedding") else leaf
        found[f"{module.replace('/', '.')}.{end}" if module else end] = (
            theirs if leaf == "kernel" else shape
        )
    return found


def flax(variant: Variant) -> Variant:
    """The variant of Flax's files, made of that of PyTorch's."""
    names: dict[str, str] = {}
    rows: list[Row] = []
    for row in variant.table.rows:
        made = with_kernels(row, _name)
        rows.append(made)
        pairs = zip(row.sources, made.sources, strict=True)
        names |= {a.replace("{i}", "0"): b.replace("{i}", "0") for a, b in pairs}

    def named(name: str) -> str:
        return names.get(name) or _name(name, kernel=True, norm=False)

    def says(shapes: Shapes) -> Mapping[str, Any]:
        return variant.says(_back(shapes))

    def drops(config: ViTConfig) -> Mapping[str, str]:
        return {named(name): why for name, why in variant.drops(config).items()}

    def starts(given: Mapping[str, str]) -> Mapping[str, str]:
        return {start.replace(".", "/"): why for start, why in given.items()}

    return replace(
        variant,
        name=f"{variant.name}+flax",
        table=Table(f"{variant.table.name}+flax", tuple(rows)),
        signature=frozenset(map(named, variant.signature)),
        absent=frozenset(map(named, variant.absent)),
        says=says,
        drops=drops,
        beside=starts(variant.beside),
        around=starts(variant.around),
        outside=starts(variant.outside),
        wrappers=(),
        export=False,
    )


MODELS = ("vit", "vit-bare", "dinov2", "dinov2-bare", "clip", "clip-projection")
"""Those that transformers 4 has in Flax."""


def variants(others: tuple[Variant, ...]) -> tuple[Variant, ...]:
    """The variants of Flax's files among those of PyTorch's."""
    by_name: dict[str, Variant] = {v.name.partition("@")[2]: v for v in others}
    return tuple(flax(by_name[name]) for name in MODELS)
