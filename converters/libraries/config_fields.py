"""Reading a foreign configuration: every field is answered for, none is guessed.

A dialect is a `Spec`: what it takes (with the library's own defaults), what must have
one value because the schema knows no other, and what is ignored because it cannot
change the model. Anything else is refused by name.
"""

from __future__ import annotations

import difflib
import functools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vit_config.config import ViTConfig
from vit_config.errors import ConfigError

Parse = Callable[[Any], Any]

REQUIRED: Final = object()  # the library itself has no default


class Refused(ValueError):
    """A value that a field cannot have; the text says what would be allowed."""


@dataclass(frozen=True, slots=True)
class Take:
    """A field that is read.

    Attributes:
        parse: Turns the library's value into ours, or raises `Refused`.
        default: The library's own default, in the library's own terms.
    """

    parse: Parse
    default: Any = REQUIRED


@dataclass(frozen=True, slots=True)
class Same:
    """A field that may stand there only with a value that the schema assumes.

    Attributes:
        why: What another value would mean.
        allowed: The values; a class or function counts by its name.
    """

    why: str
    allowed: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Spec:
    """All fields that one library's model may have.

    Attributes:
        name: The library and model, for messages.
        take: Fields that are read.
        same: Fields that must have the value the schema assumes.
        ignored: Fields that cannot change the model, each with the reason.
        meant: Names that are no field but are often taken for one, with the field.
    """

    name: str
    take: Mapping[str, Take]
    same: Mapping[str, Same] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    meant: Mapping[str, str] = field(default_factory=dict)


def read(spec: Spec, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parsed value of every taken field, defaults filled in.

    Raises:
        ConfigError: With every field that is unknown, missing, or has a value that
            the schema cannot hold.
    """
    problems = []
    values = {}
    for name, take in spec.take.items():
        value = given.get(name, take.default)
        if value is REQUIRED:
            problems.append(f"{name}: required; {spec.name} has no default for it")
            continue
        try:
            values[name] = take.parse(value)
        except Refused as refused:
            problems.append(f"{name}: found {printed(value)}; {refused}")
    for name, value in given.items():
        if name in spec.same:
            same = spec.same[name]
            if plain(value) not in same.allowed:
                choices = " or ".join(map(repr, same.allowed))
                found = printed(value)
                problems.append(f"{name}: found {found}; only {choices}: {same.why}")
        elif name not in spec.take and name not in spec.ignored:
            problems.append(_unknown(spec, name))
    if problems:
        raise ConfigError(problems, spec.name)
    return values


def _unknown(spec: Spec, name: str) -> str:
    if name in ViTConfig.model_fields:
        hint = "; that is this schema's own name, which the plain constructor takes"
    else:
        known = [*spec.take, *spec.same, *spec.ignored]
        near = difflib.get_close_matches(str(name), known, n=1)
        near = [spec.meant[name]] if name in spec.meant else near
        hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{name}: not a field of {spec.name}{hint}"


def plain(value: Any) -> Any:
    """Returns the name of a class or function, anything else as it is."""
    return getattr(value, "__name__", value) if callable(value) else value


def printed(value: Any) -> str:
    """A value in a message, cut where it is long."""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


# ---- parsers ----------------------------------------------------------------------


def integer(value: Any, least: int | None = None) -> int:
    """Parses a whole number; a bool is none."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        raise Refused("an integer" + ("" if least is None else f" of at least {least}"))
    return number


count = functools.partial(integer, least=1)
count_or_zero = functools.partial(integer, least=0)


def number(value: Any) -> float:
    """Parses an integer or a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("a number")
    return float(value)


def rate(value: Any) -> float:
    """Parses a dropout rate."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value < 1
    ):
        raise Refused("a rate: 0 <= rate < 1")
    return float(value)


def flag(value: Any) -> bool:
    """Parses True or False, and nothing that is merely true or false."""
    if not isinstance(value, bool):
        raise Refused("True or False")
    return value


def text(value: Any) -> str:
    """Parses a string."""
    if not isinstance(value, str):
        raise Refused("a string")
    return value


def optional(parse: Parse) -> Parse:
    """Allows None beside what `parse` allows."""

    def parse_or_none(value: Any) -> Any:
        return None if value is None else parse(value)

    return parse_or_none


def one_of(choices: Mapping[Any, Any], note: str = "") -> Parse:
    """Translates by a table."""

    def parse(value: Any) -> Any:
        for ours, theirs in choices.items():
            if type(ours) is type(value) and ours == value:
                return theirs
        listed = ", ".join(repr(choice) for choice in choices)
        raise Refused(f"one of {listed}{note}")

    return parse


def sizes(axes: int | None = None) -> Parse:
    """Parses a size per axis; one integer stands for all axes.

    Without `axes` an integer stays one: the schema repeats it.
    """

    def parse(value: Any) -> int | tuple[int, ...]:
        if isinstance(value, list | tuple):
            numbers = tuple(count(item) for item in value)
            if axes is not None and len(numbers) != axes:
                raise Refused(f"one integer, or {axes}")
            return numbers
        single = count(value)
        return single if axes is None else (single,) * axes

    return parse


def layer_norm_eps(default: float) -> Parse:
    """Parses a LayerNorm class, a `functools.partial` of one, or None, to its epsilon.

    torch's own class has another default than timm's subclass of the same name, so
    the module that a class comes from decides.

    Args:
        default: Epsilon that None and timm's name `"layernorm"` stand for.
    """
    wanted = "a LayerNorm class, or a functools.partial of one with eps"

    def parse(value: Any) -> float:
        if value is None or value == "":
            return default
        if isinstance(value, str):
            if value.replace("_", "").lower() == "layernorm":
                return default
            raise Refused("'layernorm': the schema has no other norm")
        if isinstance(value, functools.partial):
            if value.args or set(value.keywords) - {"eps"}:
                raise Refused(f"{wanted} and nothing else")
            base = parse(value.func)
            return number(value.keywords.get("eps", base))
        if plain(value) != "LayerNorm":
            raise Refused(wanted)
        library = str(getattr(value, "__module__", "")).partition(".")[0]
        eps = {"torch": 1e-5, "timm": 1e-6}.get(library)
        if eps is None:
            raise Refused(f"{wanted}; the epsilon of {library!r}'s is not known here")
        return eps

    return parse
