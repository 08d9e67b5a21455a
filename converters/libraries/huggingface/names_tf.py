"""Hugging Face's TensorFlow ViTs and DeiTs, which transformers 5 can no longer read.

The modules are those of the PyTorch files (`huggingface_vit`), so the tables are made
from theirs: dots are slashes, `layer.0` is `layer_._0`, kernels are Keras', input by
output, and a norm has `gamma` and `beta`. Models without a head have the prefix, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from converters.libraries.assumptions import asked
from converters.libraries.huggingface.names_vit import (
    HEAD,
    POOLER,
    TEACHER,
    assumed,
    embeddings,
    on_disk,
)
from converters.libraries.variant import Names, Shapes, Variant, renamed
from converters.mapping.laws import GROUP
from converters.mapping.table import Row, Table
from vit_config import ViTConfig
from vit_config.weights import RULES

_KERNELS = {rule.torch for rule in RULES if rule.keras.endswith("/kernel")}
_MASK = "token for masked patches, read in pre-training only"
_POOLER = "pooler, which neither the tokens nor the head go through"


Naming = Callable[[str, bool, bool], str]
"""A name of PyTorch's, whether it is a kernel's and a norm's, to another library's."""


def with_kernels(row: Row, name: Naming) -> Row:
    """A row of PyTorch's names and layout for a library whose kernels are Keras'."""
    kernel = row.targets[0] in _KERNELS
    left, right = row.sides
    if kernel:
        parts = GROUP.findall(left)
        part, axes = (parts[:1], parts[1:]) if len(row.sources) > 1 else ([], parts)
        axes = [*axes[2:], axes[1], axes[0]]  # kernels end in input, output
        left = " ".join([*part, *axes])
    sources = tuple(name(source, kernel, "norm" in source) for source in row.sources)
    return replace(row, sources=sources, pattern=f"{left} -> {right}")


def _name(name: str, kernel: bool, norm: bool) -> str:
    module, _, leaf = name.rpartition(".")
    if leaf == "weight":
        leaf = "kernel" if kernel else "gamma"
    elif leaf == "bias" and norm:
        leaf = "beta"
    place = module.replace(".layer.{i}", ".layer_._{i}").replace("._", "\0")
    return f"{place.replace('.', '/').replace(chr(0), '._')}/{leaf}"


def _variant(
    name: str, prefix: str, head: Mapping[str, Names], bare: bool = False
) -> Variant:
    body = on_disk(f"{prefix}.encoder.layer.{{i}}")
    theirs = renamed({**embeddings(f"{prefix}."), **body, **head})
    rows = tuple(with_kernels(row, _name) for row in theirs)
    own = {
        f"{prefix}/embeddings/position_embeddings",
        f"{prefix}/encoder/layer_._0/attention/attention/query/kernel",
    }
    heads = set() if bare else {f"{name}/kernel" for name in head.values()}

    def says(shapes: Shapes) -> Mapping[str, Any]:
        found: dict[str, Any] = {"pos_embed_tokens": "all", "pos_resize": "bicubic"}
        found["distilled"] = "distillation_classifier/kernel" in shapes
        if bare:
            return {**found, "representation_size": None}
        return {**found, "global_pool": "token"}

    def drops(config: ViTConfig) -> Mapping[str, str]:
        found = {f"{prefix}/embeddings/mask_token": _MASK}
        if bare and not config.representation_size:
            found |= {f"{prefix}/pooler/dense/{n}": _POOLER for n in ("kernel", "bias")}
        return found

    return Variant(
        f"huggingface@{name}+tf",
        Table(f"{name}+tf", rows),
        frozenset(own | heads),
        says=says,
        drops=drops,
        export=False,
        assumes=assumed(
            asked("a model without a head gives every token") if bare else "class token"
        ),
    )


def _below(prefix: str) -> Mapping[str, Names]:
    return {ours: f"{prefix}.{theirs}" for ours, theirs in POOLER.items()}


VARIANTS: tuple[Variant, ...] = (
    _variant("vit", "vit", HEAD),
    _variant("vit-bare", "vit", _below("vit"), bare=True),
    _variant("deit", "deit", HEAD),
    _variant("deit-teacher", "deit", TEACHER),
    _variant("deit-bare", "deit", _below("deit"), bare=True),
)
