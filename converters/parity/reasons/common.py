"""What all guesses at a mistake have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from converters.mapping.pipe import Array
from vit_config import ViTConfig
from vit_config.weights import weight_table


@dataclass(frozen=True)
class Reason:
    """A mistake that gives a wrong result.

    Attributes:
        words: What the step does instead.
        fields: Fields of the config that say otherwise.
        tensors: Weights that are not used as they should be.
    """

    words: str
    fields: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()


Tried = tuple[Reason | None, Array]
"""A mistake and what it gives; no mistake: what is right."""


@dataclass(frozen=True)
class Step:
    """A step that gave a wrong result.

    Attributes:
        tap: Name of the result.
        config: The reference's.
        sources: What it was fed with, float64.
        given: The wrong result, float64.
        weight: Values of a canonical tensor, float64.
    """

    tap: str
    config: ViTConfig
    sources: list[Array]
    given: Array
    weight: Callable[[str], Array]

    @property
    def x(self) -> Array:
        """The first thing it was fed with."""
        return self.sources[0]

    @property
    def block(self) -> str:
        """The block that it is in: `"blocks.3"`."""
        return ".".join(self.tap.split(".")[:2])

    def named(self, *patterns: str) -> tuple[str, ...]:
        """Weights of the model with such canonical names."""
        names = [weight.name for weight in weight_table(self.config)]
        return tuple(n for n in names if any(fnmatchcase(n, p) for p in patterns))

    def has(self, name: str) -> bool:
        """Whether the model has a weight of this name."""
        return bool(self.named(name))

    def linear(self, name: str, x: Array, bias: bool = True) -> Array:
        """`x` through the linear layer of that name, with its bias if it has one."""
        kernel = self.weight(f"{name}.weight")
        y: Array = x @ kernel.reshape(len(kernel), -1).T
        if bias and self.has(f"{name}.bias"):
            y = y + self.weight(f"{name}.bias")
        return y

    def layer_norm(self, name: str, x: Array, eps: float) -> Array:
        """LayerNorm over the last axis (Ba et al., 2016)."""
        centred = x - x.mean(-1, keepdims=True)
        variance = np.mean(centred**2, -1, keepdims=True)
        y: Array = centred / np.sqrt(variance + eps) * self.weight(f"{name}.weight")
        return y + self.weight(f"{name}.bias")
