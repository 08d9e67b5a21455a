"""What somebody put into a live model, its classes or its framework from outside."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from typing import Any

from converters.errors import Issue, printable

WRITTEN = frozenset(vars(type("_", (), {}))) | {
    *("__init__", "__annotations__", "__parameters__", "__orig_bases__"),
    *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl"),
}
"""What Python writes anew for each class; and its constructor, whose work is seen."""

NO_HOOK = "none: it may change what is computed"

_DECORATORS = frozenset({"contextlib", "torch", "keras", "tensorflow"})


class Absent:
    """In place of an attribute that an object does not have."""

    def __repr__(self) -> str:
        return "nothing of that name"


ABSENT = Absent()


def foreign_methods(classes: Iterable[type], packages: Iterable[str]) -> list[Issue]:
    """Methods that somebody put into a class, for all its objects.

    Args:
        classes: The classes of objects.
        packages: Packages whose classes have every method from there; those of others
            are looked at by what is called, `forward` and `call`, alone.
    """
    issues = []
    bases = {base for kind in classes for base in kind.__mro__}
    for kind in sorted(bases, key=kind_name):
        home = kind.__module__.partition(".")[0]
        names = set(vars(kind)) if home in packages else {"forward", "call", "__call__"}
        for name in sorted(names - WRITTEN):
            method = vars(kind).get(name)
            origin = _foreign(method, home) if inspect.isfunction(method) else ""
            if origin:
                where, text = f"{kind_name(kind)}.{name}", f"defined in {origin}"
                issues.append(Issue("config", where, text, f"in {kind.__module__}"))
    return issues


def _foreign(method: Any, home: str) -> str:
    """The other module that a method is from, or empty; frameworks may decorate it."""
    origin = str(method.__globals__.get("__name__", ""))
    package = origin.partition(".")[0]
    if package == home:
        return ""
    inner = getattr(method, "__wrapped__", None)
    if package in _DECORATORS and inspect.isfunction(inner):
        return _foreign(inner, home)
    return printable(origin) or "no module"


def global_hooks() -> list[Issue]:
    """Functions that torch calls around every module of this process."""
    module: Any = sys.modules.get("torch.nn.modules.module")
    return [
        Issue(
            "config",
            "torch.nn.Module",
            f"a global forward hook, {shown(hook)}",
            NO_HOOK,
        )
        for name in ("_global_forward_hooks", "_global_forward_pre_hooks")
        for hook in dict(getattr(module, name, None) or {}).values()
    ]


def disordered(layer: Any) -> str:
    """The numbers of a list's layers, if they are not called in that order."""
    names = [name.rpartition("_")[2] for name in vars(layer).get("_modules") or ()]
    numbers = [int(name) for name in names if name.isdigit()]
    return "" if numbers == sorted(numbers) else ", ".join(map(str, numbers))


def kind_name(kind: type) -> str:
    """Full name of a class."""
    return printable(f"{kind.__module__}.{kind.__qualname__}")


def shown(value: Any) -> str:
    """A value of an attribute in a few words."""
    if value is None or isinstance(value, str | int | float | list | tuple | Absent):
        return printable(repr(value), 60)
    if inspect.isroutine(value):
        return printable(f"{value.__module__}.{value.__qualname__}", 80)
    name = getattr(value, "name", None)
    return f"{kind_name(type(value))}{f' {name}' if isinstance(name, str) else ''}"
