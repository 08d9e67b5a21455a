"""Single fields set in a config's fields, also those of its sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vit_config.errors import ConfigError


def with_changes(
    fields: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Fields with some of them changed; `"data.mean"` is one field of `data` alone.

    Args:
        fields: As `ViTConfig.to_dict` has them, or some of them.
        changes: Values by name. What has no dot stands for the whole field.

    Raises:
        ConfigError: If a name goes into what is no section.
    """
    found = {**fields, **{k: v for k, v in changes.items() if "." not in k}}
    for name, value in changes.items():
        *sections, last = name.split(".")
        inner = found
        for depth, section in enumerate(sections, 1):
            below = inner.get(section)
            if below is not None and not isinstance(below, Mapping):
                path = ".".join(sections[:depth])
                line = f"{name}: {path} has no fields; it is {below!r}"
                raise ConfigError([line], "changes")
            inner[section] = dict(below or {})
            inner = inner[section]
        if sections:
            inner[last] = value
    return found
