"""How far values move when they are rounded to another type."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from converters.mapping.pipe import Array

_PART = 1 << 18


class Rounding:
    """Adds up what a rounding changes, tensor by tensor.

    Attributes:
        largest: Largest change of a value relative to itself, of those that did not
            become zero.
        tensor: The tensor that has it.
        zeroed: Values that became zero, too small for the type.
        values: Values in all.
    """

    def __init__(self) -> None:
        self.largest, self.tensor = 0.0, ""
        self.zeroed = self.values = 0
        self._squares = self._change = 0.0

    def add(self, name: str, before: Array, after: Array) -> None:
        """Compares a tensor before and after, in parts: no copy of it all."""
        flat, rounded = before.reshape(-1), after.reshape(-1)
        for start in range(0, flat.size, _PART):
            old = flat[start : start + _PART].astype(np.float64)
            new = rounded[start : start + _PART].astype(np.float64)
            self._part(name, old, new)
        self.values += flat.size

    def _part(self, name: str, old: Array, new: Array) -> None:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self.zeroed += int(np.count_nonzero((new == 0) & (old != 0)))
            change = np.abs(new - old)
            self._squares += float(old @ old)
            self._change += float(change @ change)
            relative = change / np.abs(old)
        relative[(new == 0) | ~np.isfinite(relative)] = 0
        largest = float(relative.max(initial=0.0))
        if largest > self.largest:
            self.largest, self.tensor = largest, name

    def to_dict(self) -> dict[str, Any]:
        """All figures; `relative_rms` is that of all values together."""
        whole = math.sqrt(self._change / self._squares) if self._squares else 0.0
        return {
            "largest_relative_change": self.largest,
            "tensor": self.tensor,
            "relative_rms": whole,
            "zeroed": self.zeroed,
            "values": self.values,
        }

    def __str__(self) -> str:
        where = f" ({self.tensor})" if self.tensor else ""
        figures = self.to_dict()
        text = (
            f"largest relative change {self.largest:.2g}{where}, "
            f"{figures['relative_rms']:.2g} in all (rms)"
        )
        count = f"{self.zeroed:,} of {self.values:,} values became zero"
        return f"{text}; {count}" if self.zeroed else text
