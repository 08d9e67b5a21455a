"""What a config cannot say by itself, and the tensors beside it do."""

from __future__ import annotations

from dataclasses import replace

from converters.dialects.asked import Asked, library_fields
from converters.dialects.model_class import config_of_class
from converters.dialects.model_json import ModelJson
from converters.dialects.reading import RawFile
from converters.dialects.recognise import Match
from vit_config import ViTConfig
from vit_config.dialects import timm_names


def by_tensors(
    asked: Asked, match: Match, raw: RawFile
) -> tuple[Asked, tuple[str, ...]]:
    """The caller's word, with what only the tensors say of a config, and remarks.

    Raises:
        ConversionError: If the tensors do not decide.
        ConfigError: If a config describes no model.
    """
    asked = _timm_preset(asked, match, raw)
    json = asked.json
    fields = library_fields(asked.config)
    if fields is not None and match.dialect.config == "huggingface":
        json = ModelJson(fields) if "model_type" in fields else None
    if json is None:
        return asked, ()
    shapes = {
        name.removeprefix(match.prefix): info.shape
        for name, info in raw.tensors.items()
        if name.startswith(match.prefix)
    }
    config, remarks = config_of_class(json, match, shapes, asked, raw.path)
    if fields is not None:
        return replace(asked, config=config), remarks
    return replace(asked, beside=config), remarks


def _timm_preset(asked: Asked, match: Match, raw: RawFile) -> Asked:
    """A preset that is one of timm's own names; the head is the file's."""
    name = (asked.preset or "").partition(".")[0]
    if match.dialect.name != "timm" or name not in timm_names.names():
        return asked
    config = ViTConfig.from_dialect("timm", {"architecture": asked.preset})
    head = raw.tensors.get(f"{match.prefix}head.weight")
    classes = head.shape[0] if head is not None and head.shape else 0
    if "num_classes" not in asked.changes and classes != config.num_classes:
        config = config.replace(num_classes=classes)
    origin = f"preset {asked.preset}"
    return replace(asked, preset=None, config=config, config_origin=origin)
