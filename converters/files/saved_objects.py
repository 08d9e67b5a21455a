"""Weights inside an object that was saved whole, and how to get them out of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from converters.errors import printable, refusal
from converters.files.pickled_tensor import PickledTensor
from converters.files.unpickling import Opaque, is_global

MAX_VALUES = 5_000_000
_MAX_PLACE = 1000  # letters of an expression; what is deeper nobody could reach by hand


class Objects:
    """The objects in a value, each with the Python expression that reaches it.

    Whatever stands there several times is gone through once, so cycles end.

    Args:
        value: What a pickle holds.
        path: The file, for messages.
    """

    def __init__(self, value: Any, path: Path) -> None:
        self._value, self._path = value, path
        self._left = MAX_VALUES

    def refuse_weights(self, taken: int) -> None:
        """Refuses a file of which an object holds more weights than its dicts do.

        Args:
            taken: How many numbers the tensors have that are taken from the dicts.

        Raises:
            ConversionError: With the two lines of Python that save the weights alone.
        """
        best, where, item = taken, "", None
        for place, holder in self._outermost():
            modules = list(self._modules(holder, place))
            for expression, owner in modules or [(place, holder)]:
                size = self._weights(owner)
                if size > best:
                    best, where, item = size, expression, owner
        if item is None:
            return
        state = f"{where}.state_dict()" if is_module(item) else f"vars({where})"
        name = printable(repr(self._path.name))
        raise refusal(
            f"the weights are in an object ({printable(item.path, 80)}), "
            "and only its own class can read it",
            file=self._path,
            hint="Where that class is installed, and if you trust the file, for this "
            f"runs code from it:\n"
            f"  checkpoint = torch.load({name}, weights_only=False)\n"
            f'  torch.save({state}, "weights.pth")',
        )

    def _outermost(self) -> Iterator[tuple[str, Opaque]]:
        """Objects that are in no other object."""
        queue = deque([("checkpoint", self._value)])
        seen: set[int] = set()
        while queue:
            place, value = queue.popleft()
            if isinstance(value, Opaque) and not value.entries:
                yield place, value
            elif len(place) < _MAX_PLACE:
                queue.extend(self._inside(place, value, seen))

    def _modules(self, holder: Opaque, place: str) -> Iterator[tuple[str, Opaque]]:
        """Modules in an object that are in no other module; the nearest first."""
        queue: deque[tuple[str, Any]] = deque([(place, holder)])
        seen: set[int] = {id(holder)}
        while queue:
            where, value = queue.popleft()
            if is_module(value):
                yield where, value
            elif len(where) < _MAX_PLACE:
                queue.extend(self._inside(where, value, seen))

    def _weights(self, holder: Opaque) -> int:
        """How many numbers the weights in an object have; an optimizer's are none."""
        queue: deque[tuple[str, Any]] = deque([("", holder)])
        seen: set[int] = {id(holder)}
        total = 0
        while queue:
            _, value = queue.popleft()
            if isinstance(value, PickledTensor):
                total += value.size if value.is_weight else 0
            elif not _is_optimizer(value):
                queue.extend(self._inside("", value, seen))
        return total

    def _inside(
        self, place: str, value: Any, seen: set[int]
    ) -> Iterator[tuple[str, Any]]:
        """What is a step further inside, and may hold or be a tensor."""
        if is_global(value):
            return
        held: list[tuple[str, Any]] = []
        if isinstance(value, Opaque):
            held = [(place, argument) for argument in value.args]
            held += [
                (f"{place}.{printable(name)}", item)
                for name, item in value.attributes.items()
            ]
            held += [(f"{place}[{i}]", v) for i, v in enumerate(value.items)]
            value = value.entries
        if isinstance(value, Mapping):
            held += [(f"{place}[{printable(repr(k))}]", v) for k, v in value.items()]
        elif isinstance(value, (list, tuple)):
            held = [(f"{place}[{i}]", item) for i, item in enumerate(value)]
        self._left -= len(held)
        if self._left < 0:
            raise refusal(f"more than {MAX_VALUES} values in it", file=self._path)
        kinds = (Opaque, Mapping, list, tuple, PickledTensor)
        for where, item in held:
            if isinstance(item, kinds) and id(item) not in seen:
                seen.add(id(item))
                yield where, item


def is_module(value: Any) -> bool:
    """Whether an object is a `torch.nn.Module`, by the attributes that all have.

    Modules of `torch.fx` are made of these attributes, and not given them later.
    """
    if not isinstance(value, Opaque):
        return False
    given = [arg for arg in value.args if isinstance(arg, Mapping)]
    return any(
        isinstance(held.get("_parameters"), Mapping) and "_modules" in held
        for held in (value.attributes, *given)
    )


def _is_optimizer(value: Any) -> bool:
    held = value.attributes if isinstance(value, Opaque) else value
    return isinstance(held, Mapping) and "param_groups" in held
