"""The language that the configs of a MONAI bundle are written in, references followed.

`"@key"` is a reference, `"$..."` Python code, `"%..."` a copy of text, `"_target_"` a
class to be made. References are followed; code is never run and copies are not made: a
value that is one and is needed is refused by name.
Written from MONAI 1.6.1, `monai/bundle`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vit_config.errors import ConfigError

WHAT = "MONAI bundle"

MARKS = frozenset({"_desc_", "_requires_"})
"""Keys of the language that say nothing of what is made."""

_MAX_DEPTH = 20


class Language:
    """The configs of a bundle, references followed.

    Args:
        config: Content of one config file.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def resolve(self, value: Any, where: str, depth: int = 0) -> Any:
        """A value with all its references followed.

        Raises:
            ConfigError: For code, a copy, or a reference that leads nowhere or in a
                circle; named by where it stands.
        """
        if depth > _MAX_DEPTH:
            raise ConfigError([f"{where}: references in a circle"], WHAT)
        if isinstance(value, str) and value[:1] in ("$", "%"):
            kind = "Python code, which is not run" if value[0] == "$" else "a copy"
            line = f"{where}: found {value!r}: {kind}; write the value itself"
            raise ConfigError([line], WHAT)
        if isinstance(value, str) and value.startswith("@"):
            return self.resolve(self._find(value, where), where, depth + 1)
        if isinstance(value, Mapping):
            return {
                key: self.resolve(item, f"{where}.{key}", depth + 1)
                for key, item in value.items()
                if key not in MARKS
            }
        if isinstance(value, list):
            return [
                self.resolve(item, f"{where}.{i}", depth + 1)
                for i, item in enumerate(value)
            ]
        return value

    def follow(self, value: Any, where: str) -> Any:
        """The thing that a reference means, without looking into it."""
        for _ in range(_MAX_DEPTH):
            if not (isinstance(value, str) and value.startswith("@")):
                return value
            value = self._find(value, where)
        raise ConfigError([f"{where}: references in a circle"], WHAT)

    def _find(self, reference: str, where: str) -> Any:
        found: Any = self._config
        for part in re.split(r"::|#", reference[1:]):
            if isinstance(found, Mapping) and part in found:
                found = found[part]
            elif (
                isinstance(found, list) and part.isdecimal() and int(part) < len(found)
            ):
                found = found[int(part)]
            else:
                line = f"{where}: found {reference!r}; there is no {part!r}"
                raise ConfigError([line], WHAT)
        return found

    def disabled(self, item: Mapping[str, Any], where: str) -> bool:
        """Whether a thing is switched off, as MONAI reads `_disabled_`.

        Raises:
            ConfigError: If code decides it.
        """
        given = self.resolve(item.get("_disabled_", False), f"{where}._disabled_")
        if isinstance(given, str):
            return given.strip().lower() == "true"
        return bool(given)
