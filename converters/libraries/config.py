"""Other libraries' configurations, translated. None of those libraries is imported.

One module a library. Each states the library's defaults as data, reads every field or
refuses it by name, and returns fields of `ViTConfig`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from converters.libraries.huggingface import config as huggingface
from converters.libraries.keras_hub import config as keras_hub
from converters.libraries.lucidrains import config as lucidrains
from converters.libraries.monai import config as monai
from converters.libraries.openai_clip import config as open_clip
from converters.libraries.timm import config as timm
from converters.libraries.torchvision import config as torchvision
from vit_config.errors import ConfigError

_READERS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "huggingface": huggingface.read_fields,
    "keras_hub": keras_hub.read_fields,
    "lucidrains": lucidrains.read_fields,
    "monai": monai.read_fields,
    "openai_clip": open_clip.read_fields,
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
    # None of the classes that are read has rotary positions.
    found = {"rope": None, **_READERS[dialect](fields)}
    return _cropped(found) if dialect in _CROPPING else found


_CROPPING = {"timm", "huggingface", "monai", "openai_clip"}


def _cropped(fields: dict[str, Any]) -> dict[str, Any]:
    """The image that the patches of these libraries cover, and a step that says so.

    Their convolution leaves out what does not fill a patch: of 384 pixels and patches
    of 14 it never sees the last 6. The model is one for 378 pixels.
    """
    dims = fields.get("spatial_dims", 2)
    size, patch = (
        (value,) * dims if isinstance(value, int) else tuple(value)
        for value in (fields["img_size"], fields["patch_size"])
    )
    if len(size) != len(patch) or any(s < p for s, p in zip(size, patch, strict=True)):
        return fields
    seen = tuple(s // p * p for s, p in zip(size, patch, strict=True))
    if seen == size:
        return fields
    step = "crop_input:" + "->".join("x".join(map(str, part)) for part in (size, seen))
    source = {**(fields.get("source") or {}), "steps": [step]}
    return {**fields, "img_size": seen, "source": source}


__all__ = ["DIALECTS", "from_dialect"]
