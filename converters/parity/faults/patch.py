"""Changes to objects in memory that can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self


class Patch:
    """Sets attributes and weights, and puts everything back at the end.

    Attributes are set as plain ones of the object, past a layer's own `__setattr__`:
    Keras neither tracks nor forgets anything.
    """

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def set(self, thing: Any, name: str, value: Any) -> None:
        """Sets an attribute of this one object."""
        own = vars(thing)
        if name in own:
            old = own[name]
            self._undo.append(lambda: object.__setattr__(thing, name, old))
        else:
            self._undo.append(lambda: object.__delattr__(thing, name))
        object.__setattr__(thing, name, value)

    def wrap(self, thing: Any, name: str, around: Callable[..., Any]) -> None:
        """Replaces a method of this one object.

        Args:
            thing: The object.
            name: Of the method.
            around: Called with the method as it was, and its arguments.
        """
        was = getattr(thing, name)

        def method(*args: Any, **kwargs: Any) -> Any:
            return around(was, *args, **kwargs)

        self.set(thing, name, method)

    def assign(self, variable: Any, values: Any) -> None:
        """Gives a Keras variable other values."""
        from keras import ops

        old = ops.convert_to_numpy(variable).copy()
        self._undo.append(lambda: variable.assign(old))
        variable.assign(values)

    def undo(self) -> None:
        """Puts everything back, the last first."""
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()
