"""Fields of a config before it is made: changes, and what follows from others."""

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


def with_axes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with `spatial_dims=3` where a size of three axes is all that says it.

    Args:
        fields: Fields of a config. An explicit `spatial_dims` stays as it is.
    """
    sizes = (fields.get(name) for name in ("img_size", "patch_size"))
    volume = any(isinstance(size, list | tuple) and len(size) == 3 for size in sizes)
    return {**({"spatial_dims": 3} if volume else {}), **fields}
