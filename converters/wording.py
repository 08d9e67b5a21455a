"""How messages name what a caller may give, in the terms of the interface in use.

A message does not spell an option out. It says `options(prefix="model.")`, which reads

    --prefix model.              on the command line,
    prefix="model."              in Python,
    --parity-prefix model.       under pytest.

Python is the default; whoever offers another interface says so by `speaking`.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from vit_config.wording import FORM


class Blank(str):
    """A value that the caller has to fill in: `Blank("N")` reads N, without quotes."""


@dataclass(frozen=True)
class Interface:
    """One way to call this package.

    Attributes:
        typed: Whether values are words of a command line, or else arguments in Python.
        names: What arguments are called here, where the name differs.
        start: What stands before every option.
    """

    typed: bool
    names: Mapping[str, str] = field(default_factory=dict)
    start: str = "--"

    def name(self, argument: str) -> str:
        """An argument by its name alone: `--prefix`, or `prefix=`."""
        name = self.names.get(argument, argument)
        return self.start + name.replace("_", "-") if self.typed else f"{name}="

    def values(self, arguments: Mapping[str, Any]) -> str:
        """Arguments with their values, as they are typed."""
        if self.typed:
            return " ".join(
                word
                for name, value in arguments.items()
                for word in self._words(self.name(name), value)
            )
        return ", ".join(
            self.name(name) + _python(value) for name, value in arguments.items()
        )

    def call(self, verb: str, *operands: Any, **arguments: Any) -> str:
        """A whole call: `vit-duet export a b --prefix m.`, or of a function."""
        if self.typed:
            words = ["vit-duet", verb, *(shlex.quote(str(one)) for one in operands)]
            return " ".join([*words, self.values(arguments)]).rstrip()
        given = [*map(_python, operands), self.values(arguments)]
        return f"converters.{verb}({', '.join(filter(None, given))})"

    def _words(self, flag: str, value: Any) -> Iterator[str]:
        if isinstance(value, bool):
            yield flag if value else f"{self.start}no-{flag.removeprefix(self.start)}"
        elif isinstance(value, Mapping):
            for name, one in value.items():
                yield from (flag, shlex.quote(f"{name}={field_value(one)}"))
        elif isinstance(value, list | tuple):
            for one in value:
                yield from self._words(flag, one)
        else:
            yield from (
                flag,
                shlex.quote(os.fspath(value) if _path(value) else str(value)),
            )


_FLAGS = {
    "from_dialect": "from",
    "to_dialect": "to",
    "changes": "set",
    "backends": "backend",
    "artifacts": "artifact",
    "inputs": "input",
    "record": "check",
}

PYTHON = Interface(False)
PRETRAINED = Interface(False, {"from_dialect": "dialect"})
"""`from_pretrained` of both twins."""
COMMAND_LINE = Interface(True, _FLAGS)
PYTEST = Interface(True, {**_FLAGS, "from_dialect": "dialect"}, "--parity-")

_current: ContextVar[Interface] = ContextVar("converters.wording", default=PYTHON)


@contextmanager
def speaking(interface: Interface) -> Iterator[None]:
    """Lets messages name arguments as this interface does."""
    token = _current.set(interface)
    form = FORM.set(lambda fields: interface.values({"changes": dict(fields)}))
    try:
        yield
    finally:
        FORM.reset(form)
        _current.reset(token)


def option(argument: str) -> str:
    """An argument by its name alone: `--prefix`, or `prefix=` in Python."""
    return _current.get().name(argument)


def options(**arguments: Any) -> str:
    """Arguments with values: `--drop 'a.*' --head fc`, or `drop="a.*", head="fc"`.

    Args:
        **arguments: By their names in Python; a list is an option given several times,
            `changes` a mapping of fields.
    """
    return _current.get().values(arguments)


def call(verb: str, *operands: Any, **arguments: Any) -> str:
    """A command line, or a call in Python, that can be typed as it is.

    Args:
        verb: The command, or function.
        *operands: What stands first; a live model reads `model`.
        **arguments: As of `options`; those that are None, False or empty are left out.
    """
    shown = (one if _plain(one) else Blank("model") for one in operands)
    given = {
        name: value if _plain(value) or name != "config" else Blank("config")
        for name, value in arguments.items()
        if value is not None and value is not False and value not in ((), [], {}, "")
    }
    return _current.get().call(verb, *shown, **given)


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float | os.PathLike)


def setting(**fields: Any) -> str:
    """Fields of the config: `--set depth=2`, or `changes={"depth": 2}`."""
    return options(changes=fields)


def written(value: Any) -> str:
    """A value as it is written here: `null` on the command line, `None` in Python."""
    return field_value(value) if _current.get().typed else _python(value)


def _path(value: Any) -> bool:
    return isinstance(value, os.PathLike)


def field_value(value: Any) -> str:
    """A value as `--set` reads it; a plain word needs no quotes."""
    if isinstance(value, Blank):
        return str(value)
    if isinstance(value, list | tuple) and any(isinstance(v, Blank) for v in value):
        return f"[{','.join(map(field_value, value))}]"
    if isinstance(value, str) and value.replace("_", "").isalnum():
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _python(value: Any) -> str:
    if isinstance(value, Blank):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{_python(k)}: {_python(v)}" for k, v in value.items())
            + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_python, value)) + "]"
    return _python(os.fspath(value)) if _path(value) else repr(value)
