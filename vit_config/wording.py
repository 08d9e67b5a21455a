"""How messages tell a caller to set fields of a config.

Here it is `data=None`. Whoever takes fields in another form (an argument `changes=`, an
option `--set`) sets that form for as long as it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any


def _plain(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in fields.items())


FORM: ContextVar[Callable[[Mapping[str, Any]], str]] = ContextVar(
    "vit_config.wording", default=_plain
)


def setting(fields: Mapping[str, Any]) -> str:
    """What to type to set these fields, by name and value; names may hold dots."""
    return FORM.get()(fields)
