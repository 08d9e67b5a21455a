"""Named intermediate results, collected only when somebody asked.

Framework-free, so that both twins use the very same names in the very same way. Taps
are *returned* beside the result, `(y, taps)`, and never filled into a container that
the caller passed: Keras copies containers on the way into a layer.
"""

from __future__ import annotations

from typing import Any


class Taps:
    """Collector of one call of one module.

    Attributes:
        wanted: Whether anything is kept at all; if not, nothing is held in memory.
        found: Name to tensor, in order of computation.
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.found: dict[str, Any] = {}

    def __call__(self, name: str, value: Any) -> Any:
        """Keeps a result under its name and passes it on."""
        if self.wanted:
            self.found[name] = value
        return value

    def of(self, name: str, result: Any) -> Any:
        """Keeps what a child module returned, with its taps under its name."""
        if not self.wanted:
            return result
        y, inner = result
        self.found.update({f"{name}.{key}": value for key, value in inner.items()})
        return y

    def give(self, y: Any) -> Any:
        """The module's return value: `(y, taps)` if wanted, else `y`."""
        return (y, self.found) if self.wanted else y
