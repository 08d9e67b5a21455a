"""What callers give: values of the wrong type are refused where they come in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from converters.errors import ConversionError, printable, refusal


def wrong(name: str, value: object, right: str) -> ConversionError:
    """A refusal of an argument, with what was found and what would be right."""
    text = f"{name}: found {printable(repr(value))}; {right} would be right"
    return refusal(text, kind="config")


def check_path(name: str, value: object, right: str = "a path") -> None:
    """Takes the name of a file or folder.

    Raises:
        ConversionError: If it is none, or empty.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text:
        raise wrong(name, value, right)


def check_text(name: str, value: object) -> None:
    """Takes a text, or None.

    Raises:
        ConversionError: If it is anything else.
    """
    if value is not None and not isinstance(value, str):
        raise wrong(name, value, "a text, or None,")


def check_flag(name: str, value: object) -> None:
    """Takes True or False: `"no"` would be as good as True.

    Raises:
        ConversionError: If it is anything else.
    """
    if not isinstance(value, bool):
        raise wrong(name, value, "True or False")


def check_count(name: str, value: object) -> None:
    """Takes an integer from 1 up; True is none.

    Raises:
        ConversionError: If it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise wrong(name, value, "a number from 1 up")


def check_fields(name: str, value: object) -> None:
    """Takes an object of fields, `{"num_heads": 3}`.

    Raises:
        ConversionError: If it is no mapping, or if a key is no text.
    """
    right = 'a dict of fields, {"num_heads": 3},'
    if not isinstance(value, Mapping):
        raise wrong(name, value, right)
    for key in value:
        if not isinstance(key, str):
            raise wrong(name, dict(value), right)


def patterns(name: str, value: Any) -> tuple[str, ...]:
    """Patterns of names, one or several.

    Raises:
        ConversionError: If they are no texts.
    """
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise wrong(name, value, "a pattern of names, or a list of them,")


def size_numbers(text: str) -> tuple[int, ...]:
    """The numbers of a size that is spelled `224` or `64x64x32`; () if it is none."""
    parts = [part.strip() for part in text.lower().split("x")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        return ()
    return tuple(map(int, parts))
