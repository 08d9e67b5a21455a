"""A live model held against a fresh one: every child and every plain attribute.

What the fresh one has says what the live one may have. No list of attributes is kept
here, so that one which a later release of a framework adds is compared, too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from converters.errors import Issue, printable
from converters.twins.patches import (
    ABSENT,
    NO_HOOK,
    WRITTEN,
    disordered,
    foreign_methods,
    kind_name,
    shown,
)

_TABLES = ("_modules", "_parameters", "_buffers")
_COMPILED = "_compiled_call_impl"
"""Of `module.compile()`: another way to run the same steps."""


@dataclass(frozen=True)
class Framework:
    """What the models of a framework are made of.

    Attributes:
        layer: The class of all layers.
        tensors: The classes of weights; their values are not compared.
        ignored: Whether an attribute means nothing for a result, by its name and the
            value that a fresh object has: what changes in use.
        packages: Packages whose classes have all their methods from there.
        differ: By name of the attribute, what differs in two values, in words; nothing
            if they mean the same. Others are compared by `==`.
    """

    layer: type
    tensors: tuple[type, ...]
    ignored: Callable[[str, Any], bool]
    packages: tuple[str, ...]
    differ: Mapping[str, Callable[[Any, Any], str]] = field(default_factory=dict)


class Comparison:
    """The differences of a live object from a fresh one of the same config.

    Args:
        live: The object.
        fresh: One that was just made, with the same settings.
        framework: What both are made of.
        gradients: Whether gradients count, not outputs alone: what hooks change on the
            way back, and what several layers share.

    Attributes:
        issues: The differences, each with its place.
        layers: Path of every layer by identity.
        weights: Path of every weight by identity.
    """

    def __init__(
        self, live: Any, fresh: Any, framework: Framework, *, gradients: bool = False
    ) -> None:
        self._framework = framework
        self._gradients = gradients
        self._classes: set[type] = set()
        self.issues: list[Issue] = []
        self.layers: dict[int, str] = {}
        self.weights: dict[int, str] = {}
        if type(live) is not type(fresh):
            self._subclass(type(live), type(fresh))
        self._layer("", live, fresh)
        self.issues += foreign_methods(self._classes, framework.packages)

    def _layer(self, path: str, live: Any, fresh: Any) -> None:
        self._once(self.layers, path, live, "layer")
        self._classes.add(type(fresh))
        mine, wanted = attributes(live), attributes(fresh)
        self._hooks(path, mine, wanted)
        if order := disordered(live):
            self._issue(path, f"layers in the order {order}", "0, 1, 2 ...")
        for name in {**wanted, **mine}:
            own, other = mine.get(name, ABSENT), wanted.get(name, ABSENT)
            if self._framework.ignored(name, other):
                continue
            leaf = name.lstrip("_")  # what the class shows as a property
            where = f"{path}.{leaf}" if path else leaf
            if other is ABSENT:
                self._added(where, own, getattr(type(fresh), name, ABSENT))
            else:
                self._value(where, own, other)

    def _added(self, path: str, live: Any, shared: Any) -> None:
        """An attribute that a fresh object has not, but its class may."""
        if self._is_part(live):
            self._issue(path, kind_name(type(live)), repr(ABSENT))
        elif shared is not ABSENT and shared is not live:
            if path.endswith(_COMPILED.strip("_")):
                return
            kind = "method" if callable(shared) else "attribute"
            text = f"{shown(live)}, set on the object"
            self._issue(path, text, f"the {kind} of its class")

    def _value(self, path: str, live: Any, fresh: Any) -> None:
        if isinstance(fresh, self._framework.layer):
            if type(live) is type(fresh):
                self._layer(path, live, fresh)
            else:
                self._issue(path, shown(live), _article(type(fresh)))
        elif isinstance(fresh, self._framework.tensors):
            self._weight(path, live, fresh)
        elif isinstance(fresh, list | tuple) and any(map(self._is_part, fresh)):
            if not isinstance(live, list | tuple) or len(live) != len(fresh):
                count = len(live) if isinstance(live, list | tuple) else shown(live)
                self._issue(path, f"{count}", f"{len(fresh)} layers")
                return
            for i, pair in enumerate(zip(live, fresh, strict=True)):
                self._value(f"{path}.{i}", *pair)
        else:
            differ = self._framework.differ.get(path.rpartition(".")[2])
            if differ is not None and type(live) is type(fresh):
                if text := differ(live, fresh):
                    self._issue(path, text, "that of the model")
            elif not same(live, fresh):
                self._issue(path, shown(live), f"{shown(fresh)}, as its config says")

    def _weight(self, path: str, live: Any, fresh: Any) -> None:
        if type(live) is not type(fresh):
            self._issue(path, shown(live), _article(type(fresh)))
            return
        self._once(self.weights, path, live, "weight")
        if tuple(live.shape) != tuple(fresh.shape):
            self._issue(path, f"shape {tuple(live.shape)}", f"{tuple(fresh.shape)}")
        elif live.dtype != fresh.dtype:
            self._issue(path, f"{live.dtype}", f"{fresh.dtype}, as the others have")
        if self._gradients:
            for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
                self._no_hooks(path, name, getattr(live, name, None))

    def _is_part(self, value: Any) -> bool:
        return isinstance(value, (self._framework.layer, *self._framework.tensors))

    def _once(self, known: dict[int, str], path: str, live: Any, kind: str) -> None:
        """What stands in two places gets the gradients of both."""
        first = known.setdefault(id(live), path)
        if first != path and self._gradients:
            self._issue(path, f"the same {kind} as {first}", f"a {kind} of its own")

    def _issue(self, name: str, found: str, expected: str) -> None:
        self.issues.append(Issue("config", name, found, expected))

    # ---- what is put in from outside ------------------------------------------------

    def _hooks(
        self, path: str, live: Mapping[str, Any], fresh: Mapping[str, Any]
    ) -> None:
        """Functions that torch calls before or after a module, or on its weights."""
        for name, hooks in live.items():
            backward = "backward" in name and not self._gradients
            if name.endswith("_hooks") and "load_" not in name and not backward:
                self._no_hooks(path, name, hooks, fresh.get(name))

    def _no_hooks(self, path: str, name: str, hooks: Any, own: Any = None) -> None:
        known = {_code(hook) for hook in dict(own or {}).values()}
        for hook in dict(hooks or {}).values():
            if _code(hook) not in known:
                kind = name.strip("_").removesuffix("s").replace("_", " ")
                text = f"a {kind}, {shown(hook)}"
                self._issue(path, text, NO_HOOK)

    def _subclass(self, kind: type, base: type) -> None:
        """A subclass may add methods; what it replaces may compute something else."""
        for name in dir(base):
            own = inspect.getattr_static(base, name)
            if (
                name not in WRITTEN
                and inspect.getattr_static(kind, name) is not own
                and not _of_training(name, base)
            ):
                text = f"defined by {printable(kind.__qualname__)}"
                self._issue(name, text, f"that of {base.__qualname__}")


def attributes(thing: Any) -> dict[str, Any]:
    """What an object holds, by name; torch's tables of parts laid open."""
    own = dict(vars(thing))
    tables = [own.pop(name, {}) for name in _TABLES]
    for table in tables:
        own |= dict(table)
    return own


def same(live: Any, fresh: Any) -> bool:
    """Whether two values of an attribute mean the same."""
    if live is fresh:
        return True
    if inspect.isroutine(live) and inspect.isroutine(fresh):
        return _code(live) is _code(fresh)
    if isinstance(live, Mapping) and isinstance(fresh, Mapping):
        same_keys = live.keys() == fresh.keys()
        return same_keys and all(same(live[key], fresh[key]) for key in fresh)
    if isinstance(live, list | tuple) and isinstance(fresh, list | tuple):
        return len(live) == len(fresh) and all(map(same, live, fresh))
    if isinstance(live, int | float) and isinstance(fresh, int | float):
        return live == fresh
    if type(live) is not type(fresh):
        return False
    # An object that compares by identity is another one in every model.
    return _by_identity(type(fresh)) or bool(live == fresh)


def _by_identity(kind: type) -> bool:
    owner = next(base for base in kind.__mro__ if "__eq__" in vars(base))
    return owner is object


def _code(function: Any) -> Any:
    """What functions share that are made anew for each object."""
    function = inspect.unwrap(function)
    function = getattr(function, "__func__", function)
    return getattr(function, "__code__", function)


def _of_training(name: str, base: type) -> bool:
    """Whether a method is one of Keras' trainer, by which nothing is predicted."""
    owner = next(cls for cls in base.__mro__ if name in vars(cls))
    return owner.__name__.endswith("Trainer") and "predict" not in name


def _article(kind: type) -> str:
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"
