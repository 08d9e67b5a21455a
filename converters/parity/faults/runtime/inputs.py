"""The model sees other axes, or other channels, of the input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converters.parity.faults.base import Condition, Fault, Inject
from converters.parity.faults.patch import Patch
from converters.parity.faults.runtime.base import PATCHES, Call, runtime_fault
from vit_config import ViTConfig

SPACE = ("data.axes", "data.orientation")


def _of_inputs(edit: Call) -> Inject:
    """Edits (B, *spatial, C) before the patches are taken."""

    def inject(patch: Patch, model: Any) -> None:
        patch.wrap(model.patch_embed, "call", lambda was, x: was(edit(x)))

    return inject


def _flip(axis: int) -> Call:
    def edit(x: Any) -> Any:
        from keras import ops

        return ops.flip(x, axis=axis)

    return edit


def _swap(one: int, other: int) -> Call:
    def edit(x: Any) -> Any:
        from keras import ops

        return ops.swapaxes(x, one, other)

    return edit


def _long_enough(axis: int) -> Condition:
    return lambda config: axis < config.spatial_dims


def _equal(one: int, other: int) -> Condition:
    def applies(config: ViTConfig) -> bool:
        size = config.img_size
        return max(one, other) < len(size) and size[one] == size[other]

    return applies


def faults() -> Iterator[Fault]:
    """Axes and channels of the input."""
    for axis in range(3):
        yield runtime_fault(
            "input",
            f"input flipped {axis}",
            f"turns axis {axis} of the input round",
            PATCHES,
            SPACE,
            _of_inputs(_flip(axis + 1)),
            _long_enough(axis),
        )
    for one, other in ((0, 1), (0, 2), (1, 2)):
        yield runtime_fault(
            "input",
            f"input axes {one} {other}",
            f"exchanges axes {one} and {other} of the input",
            PATCHES,
            SPACE,
            _of_inputs(_swap(one + 1, other + 1)),
            _equal(one, other),
        )
    yield runtime_fault(
        "input",
        "input channels reversed",
        "has the channels of the input in reverse order",
        PATCHES,
        ("data.mean", "data.std"),
        _of_inputs(_flip(-1)),
        lambda config: config.in_chans > 1,
    )
