"""Other libraries' configurations, translated. None of those libraries is imported.

One module a library. Each states the library's defaults as data, reads every field or
refuses it by name, and returns fields of `ViTConfig`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vit_config.dialects import huggingface, lucidrains, monai, timm, torchvision
from vit_config.errors import ConfigError

_READERS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "huggingface": huggingface.read_fields,
    "lucidrains": lucidrains.read_fields,
    "monai": monai.read_fields,
    "timm": timm.read_fields,
    "torchvision": torchvision.read_fields,
}

DIALECTS: tuple[str, ...] = tuple(_READERS)


def from_dialect(dialect: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Translates a library's configuration into fields of `ViTConfig`.

    Args:
        dialect: One of `DIALECTS`.
        fields: The library's constructor arguments, or its `config.json`.

    Raises:
        ConfigError: With every field that is missing, unknown, or has a value that
            the schema cannot hold; or if there is no such dialect.
    """
    if dialect not in _READERS:
        listed = ", ".join(map(repr, DIALECTS))
        raise ConfigError([f"dialect: found {dialect!r}; one of {listed}"], "dialect")
    if not isinstance(fields, Mapping):
        kind = type(fields).__name__
        raise ConfigError([f"fields: found a {kind}; a mapping of names"], dialect)
    return _READERS[dialect](fields)


__all__ = ["DIALECTS", "from_dialect"]
