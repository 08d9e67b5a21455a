"""The version of this package, also without an installation."""

from __future__ import annotations

from functools import lru_cache

VERSION = "0.1.0"


@lru_cache(maxsize=1)
def producer() -> str:
    """What written files name as their maker."""
    return f"vit-duet {VERSION}"
