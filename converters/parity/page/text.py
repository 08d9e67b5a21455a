"""How figures and words of a record are shown."""

from __future__ import annotations

import json
import math
from typing import Any

from converters.errors import printable
from converters.parity.record import Meaning, Status, Verdict

WORDS: dict[Verdict, str] = {
    "passed": "Passed",
    "failed": "Failed",
    "incomplete": "Incomplete",
}
SIGNS: dict[Verdict | Status, str] = {
    "passed": "✓",
    "failed": "✗",
    "incomplete": "!",
    "not checked": "–",
    "reported": "i",
}
"""A sign beside every coloured word, for eyes and printers that see no colour."""

SHORT: dict[Meaning, str] = {
    "weights": "Weights",
    "reload": "Reload",
    "twins": "Both frameworks",
    "source": "Original library",
}

LEVEL_TITLES = {
    "config": "Config",
    "weights": "Weights",
    "logits": "Outputs",
    "layers": "Layers",
    "gradients": "Gradients",
    "training": "Training",
    "reload": "Reload",
    "cases": "Cases",
    "record": "Earlier record",
}
"""Groups of checks, in the order in which they are shown."""

DIGITS = 3


def number(value: float | int, digits: int = DIGITS) -> str:
    """A figure: whole numbers in full, others with three digits: `1.23e-7`."""
    if isinstance(value, int):
        return f"{value:,}"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    if 100 <= abs(value) < 1e5:
        return f"{value:,.0f}"
    mantissa, mark, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


def percent(share: float) -> str:
    """A share; one that is not whole never shows as 100 %, nor as 0 %."""
    if not math.isfinite(share):
        return number(share)
    for digits in range(DIGITS, 17):
        text = f"{100 * share:.{digits}g}"
        if "e" not in text and (text not in {"100", "0"} or share in {0.0, 1.0}):
            return f"{text} %"
    return f"{100 * share:.{DIGITS}g} %"


def ratio(value: float, limit: float | None = None) -> str:
    """A ratio, with as many digits as it takes to tell it from its limit."""
    if limit is None or value == limit or not math.isfinite(value):
        return number(value)
    for digits in range(DIGITS, 17):
        text = number(value, digits)
        if text != number(limit, digits):
            return text
    return repr(value)


def shape(sizes: tuple[int, ...]) -> str:
    """`(768, 3, 16, 16)` -> `"768 × 3 × 16 × 16"`; a scalar has none."""
    return " × ".join(str(size) for size in sizes) or "scalar"


def short(digest: str, length: int = 12) -> str:
    """The beginning of a hash."""
    return digest if len(digest) <= length else f"{digest[:length]}…"


def words(text: object) -> str:
    """Text from outside: no control characters, of a length that fits a page."""
    return printable(text, 2000)


def plural(count: int, one: str, many: str = "") -> str:
    """`3, "tensor"` -> `"3 tensors"`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def step(key: str) -> str:
    """A key as a step of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def leaves(value: Any, pointer: str, name: str = "") -> list[tuple[str, str, str]]:
    """All ends of nested data: (name, JSON pointer from `pointer` on, JSON text)."""
    found: list[tuple[str, str, str]] = []
    if isinstance(value, dict) and value:
        for key, part in value.items():
            label = f"{name}.{key}" if name else str(key)
            found += leaves(part, f"{pointer}/{step(str(key))}", label)
        return found
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [(name, pointer, text)]
