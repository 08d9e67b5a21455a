"""A step that is planned, and the tensors after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from converters.mapping.pipe import Array, Source, TensorInfo, cast
from vit_config import ViTConfig
from vit_config.weights import weight_table

Make = Callable[[Source], Array]
"""Makes one tensor from those before the step, in any float type."""

Watch = Callable[[str, Array, Array], None]
"""Called with a tensor's name, its values before a rounding, and after it."""


@dataclass(frozen=True)
class Stage:
    """One step, planned for one config.

    Attributes:
        text: What `source.steps` says of it, compact and stable.
        config: The model after it. Its tensors are made, or those of before.
        makes: How each tensor that the step changes is made, by canonical name.
        drawn: Those of them that are drawn at random.
        folded: Tensors that are no longer there, because others hold what they held.
        notes: What else there is to say of it, one sentence each.
        measured: Whether the rounding of what it makes is worth a report.
    """

    text: str
    config: ViTConfig
    makes: Mapping[str, Make] = field(default_factory=dict)
    drawn: tuple[str, ...] = ()
    folded: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    measured: bool = False


class Staged:
    """The tensors after a step, served from those before it.

    Args:
        source: The tensors before.
        stage: The step.
        watch: Told of every tensor that the step makes.
    """

    def __init__(self, source: Source, stage: Stage, watch: Watch | None = None):
        self._source, self._stage, self._watch = source, stage, watch
        main = next(iter(source.tensors.values())).dtype
        self.tensors = {}
        for weight in weight_table(stage.config):
            known = source.tensors.get(weight.name)
            dtype = known.dtype if known else main
            if weight.name not in stage.makes and (
                known is None or known.shape != weight.shape
            ):
                raise ValueError(f"{stage.text} does not say how to make {weight.name}")
            self.tensors[weight.name] = TensorInfo(dtype, weight.shape)

    def read(self, name: str) -> Array:
        """The values of one tensor, in the type it had before."""
        make = self._stage.makes.get(name)
        if make is None:
            return self._source.read(name)
        exact = make(self._source)
        info = self.tensors[name]
        made = cast(np.ascontiguousarray(exact), info.dtype)
        if made.shape != info.shape:
            raise ValueError(f"{self._stage.text}: {name} is {made.shape}")
        if self._watch is not None:
            self._watch(name, exact, made)
        return made

    @property
    def gone(self) -> tuple[str, ...]:
        """Tensors that were there before and are left out or drawn anew."""
        drawn, folded = set(self._stage.drawn), self._stage.folded
        return tuple(
            name
            for name in self._source.tensors
            if (name not in self.tensors and name not in folded) or name in drawn
        )


def size_text(size: tuple[int, ...]) -> str:
    """`(32, 224)` -> `"32x224"`."""
    return "x".join(map(str, size))
