"""What a fault is, and the model that it is done to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal, Self

import numpy as np

from converters.mapping.pipe import Array
from converters.parity.faults.patch import Patch
from vit_config import ViTConfig
from vit_config.weights import Weight, weight_table

Kind = Literal["file", "mapping", "runtime"]


@dataclass(frozen=True)
class Model:
    """A config and all its weights.

    Attributes:
        config: The config.
        tensors: Canonical weights, float32; never changed in place.
    """

    config: ViTConfig
    tensors: dict[str, Array]

    def with_tensors(self, changed: dict[str, Array]) -> Self:
        """The same model with some weights replaced."""
        unknown = changed.keys() - self.tensors.keys()
        if unknown:
            raise ValueError(f"weights that the model has not: {sorted(unknown)}")
        made = {
            name: np.ascontiguousarray(changed.get(name, values))
            for name, values in self.tensors.items()
        }
        return replace(self, tensors=made)

    def with_config(self, **fields: Any) -> Self:
        """The same weights under another config that has the same."""
        return replace(self, config=self.config.replace(**fields))

    def weights(self) -> tuple[Weight, ...]:
        """The table of its weights."""
        return weight_table(self.config)


Change = Callable[[Model], Model]
Inject = Callable[[Patch, Any], None]
"""Does something to a `keras_vit.ViT` in memory, through a patch that can undo it."""

Condition = Callable[[ViTConfig], bool]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which B is not A.

    Attributes:
        kind: `"file"`: the file of B is another one; `"mapping"`: it was written with
            a wrong rule; `"runtime"`: the file is right, but the model in memory or
            its code is not.
        family: What it is counted under in the table.
        name: No other fault has this name.
        does: What it does, in one line.
        tensors: The weights that are the place, as patterns of canonical names.
        fields: The fields of the config that are the place; any of both is right.
        applies: Whether a config can have it.
        change: Makes the faulty B, unless it is a runtime fault.
        inject: Makes a loaded Keras model faulty, if it is one.
    """

    kind: Kind
    family: str
    name: str
    does: str
    tensors: tuple[str, ...]
    fields: tuple[str, ...]
    applies: Condition
    change: Change | None = None
    inject: Inject | None = None

    def __post_init__(self) -> None:
        wanted = self.inject if self.kind == "runtime" else self.change
        if wanted is None or (self.change is None) == (self.inject is None):
            raise ValueError(f"{self.name}: a {self.kind} fault is done in one way")
        if not self.tensors and not self.fields:
            raise ValueError(f"{self.name}: nothing would be the right blame")

    def of(self, model: Model) -> Model:
        """The faulty B.

        Raises:
            ValueError: For a runtime fault, of which the file is right.
        """
        if self.change is None:
            raise ValueError(f"{self.name}: a runtime fault changes no file")
        return self.change(model)

    def expected(self, names: Iterable[str]) -> frozenset[str]:
        """Those of the canonical names that are the place."""
        return frozenset(name for name in names if self.means(name))

    def means(self, name: str) -> bool:
        """Whether a canonical name is the place."""
        return any(fnmatchcase(name, pattern) for pattern in self.tensors)

    def right(self, tensors: Iterable[str], fields: Iterable[str]) -> bool:
        """Whether a blame is right: something is blamed, and all of it is the place."""
        tensors, fields = tuple(tensors), tuple(fields)
        if not tensors and not fields:
            return False
        return all(map(self.means, tensors)) and set(fields) <= set(self.fields)


def one_of(*names: str) -> Condition:
    """Whether a config has all these weights; patterns are canonical names."""

    def applies(config: ViTConfig) -> bool:
        have = [weight.name for weight in weight_table(config)]
        return all(any(fnmatchcase(n, pattern) for n in have) for pattern in names)

    return applies
