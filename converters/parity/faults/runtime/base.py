"""What all runtime faults share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from converters.parity.faults.base import Condition, Fault, Inject
from vit_config import ViTConfig

Call = Callable[..., Any]
BLOCK = 1
"""The block in which a fault of one block is."""
PATCHES = ("patch_embed.proj.weight",)


def runtime_fault(
    family: str,
    name: str,
    does: str,
    tensors: tuple[str, ...],
    fields: tuple[str, ...],
    inject: Inject,
    applies: Condition,
) -> Fault:
    """A fault of a model in memory; its arguments are those of `Fault`."""
    return Fault(
        "runtime",
        family,
        f"runtime/{name}",
        does,
        tensors,
        fields,
        applies,
        inject=inject,
    )


def always(config: ViTConfig) -> bool:
    """Every model can have it."""
    return True
