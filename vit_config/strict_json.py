"""JSON as strictly as a file from a stranger deserves."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class JsonError(ValueError):
    """A text that is not the JSON object it should be."""


def strict_object(text: bytes | str) -> dict[str, Any]:
    """Parses one JSON object.

    Raises:
        JsonError: For broken JSON, another type, a key that stands twice, NaN and
            infinite numbers, and nesting without end.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()  # else json would guess UTF-16 and UTF-32, too
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except JsonError:
        raise
    except RecursionError:
        raise JsonError("nested too deeply") from None
    except UnicodeDecodeError:
        raise JsonError("not UTF-8") from None
    except ValueError as error:
        raise JsonError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise JsonError(f"a JSON {type(value).__name__}, not an object")
    return value


def canonical(value: Any) -> str:
    """Sorted keys, no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(items)
    if len(value) != len(items):
        seen: set[str] = set()
        for key, _ in items:
            if key in seen:
                raise JsonError(f"the key {key!r} stands twice")
            seen.add(key)
    return value


def _refuse(name: str) -> NoReturn:
    raise JsonError(f"{name} is not a number that JSON can hold")
