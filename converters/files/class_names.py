"""Names of classes that stand in a checkpoint beside the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from converters.errors import printable
from converters.files.unpickling import Opaque, is_global
from converters.wording import Blank, setting

_BY_NAME = {"class_to_idx", "label2id", "class_to_index", "classes_to_idx"}
_BY_INDEX = {"idx_to_class", "id2label", "index_to_class"}
_LISTS = {"classes", "class_names", "classnames", "label_names", "labels"}
_KEYS = _BY_NAME | _BY_INDEX | _LISTS
_MAX_DEPTH = 4
_MAX_VALUES = 20_000
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class ClassNames:
    """A list of class names, or why it is none.

    Attributes:
        where: Where it stands: `"class_to_idx"`.
        names: The names in the order of their indices; empty where they have none.
        problem: Why they have no order, or an empty text.
    """

    where: str
    names: tuple[str, ...]
    problem: str = ""

    def describe(self, num_classes: int | None = None) -> str:
        """What they are, and how to take them, in one line.

        Args:
            num_classes: How many classes the model has; None if that is not known.
        """
        where = printable(self.where)
        if self.problem:
            return f"{where} is no list of labels: {self.problem}"
        count = len(self.names)
        shown = ", ".join(printable(name, 40) for name in self.names[:6])
        shown += ", ..." if count > 6 else ""
        if num_classes is not None and num_classes != count:
            return f"{shown} ({where}: {count} names, for {num_classes} classes)"
        if not all(name.isprintable() for name in self.names):
            return f"{shown} ({where}: control characters in it)"
        if count > _SHOWN:
            how = setting(labels=Blank("[NAME,...]"))
            return f"{shown} ({where}, {count} names, all in the JSON report; {how})"
        return f"{shown} ({setting(labels=list(self.names))})"

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types."""
        return {
            "where": self.where,
            "names": list(self.names),
            "problem": self.problem,
        }


def class_names(value: Any) -> tuple[ClassNames, ...]:
    """Every list of class names in a checkpoint; equal ones once."""
    found: dict[tuple[str, ...], ClassNames] = {}
    problems = []
    for where, key, item in _candidates(value, "", 0, [_MAX_VALUES]):
        known = _read(where, key, item)
        if known is None:
            continue
        if known.problem:
            problems.append(known)
        else:
            found.setdefault(known.names, known)
    return (*found.values(), *problems)


def _candidates(
    value: Any, prefix: str, depth: int, left: list[int]
) -> Iterator[tuple[str, str, Any]]:
    if depth > _MAX_DEPTH or is_global(value):
        return
    if isinstance(value, Opaque):
        held: Mapping[Any, Any] = {**value.attributes, **value.entries}
    elif isinstance(value, Mapping):
        held = value
    else:
        return
    for key, item in held.items():
        left[0] -= 1
        if left[0] < 0:
            return
        if isinstance(key, str) and key.lower() in _KEYS:
            yield f"{prefix}{key}", key.lower(), item
        elif isinstance(key, str):
            yield from _candidates(item, f"{prefix}{key}.", depth + 1, left)


def _read(where: str, key: str, item: Any) -> ClassNames | None:
    """The names in a value that is called like a list of them."""
    if isinstance(item, Opaque):
        item = item.entries or item.items
    if isinstance(item, (list, tuple)):
        if item and all(isinstance(name, str) for name in item):
            return ClassNames(where, tuple(item))
        return None
    if not isinstance(item, Mapping) or not item:
        return None
    pairs = list(item.items())
    by_index = all(_index(k) is not None and isinstance(v, str) for k, v in pairs)
    by_name = all(isinstance(k, str) and _index(v) is not None for k, v in pairs)
    if not by_index and not by_name:
        return None
    order = {_index(k if by_index else v): str(v if by_index else k) for k, v in pairs}
    if set(order) != set(range(len(pairs))):
        wanted = f"0 to {len(pairs) - 1}, each once"
        return ClassNames(where, (), f"its numbers are not {wanted}")
    return ClassNames(where, tuple(order[i] for i in range(len(pairs))))


def _index(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if type(value) is int else None
