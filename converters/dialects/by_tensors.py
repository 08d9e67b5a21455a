"""What a config cannot say by itself, and the tensors beside it do."""

from __future__ import annotations

from dataclasses import replace

from converters.dialects.asked import Asked, library_fields
from converters.dialects.model_class import config_of_class
from converters.dialects.model_json import ModelJson
from converters.dialects.reading import RawFile
from converters.dialects.recognise import Match
from converters.dialects.seen import seen
from converters.dialects.timm_code import made_in_code
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
    shapes = {
        name.removeprefix(match.prefix): info.shape
        for name, info in raw.tensors.items()
        if name.startswith(match.prefix)
    }
    fields = library_fields(asked.config)
    config: ViTConfig | None = None
    if match.dialect.config == "huggingface":
        json = asked.json
        if fields is not None:
            json = ModelJson(fields) if "model_type" in fields else None
        if json is not None:
            config, remarks = config_of_class(json, match, shapes, asked, raw.path)
    elif match.dialect.config == "timm":
        config = asked.beside
        if fields is not None:
            config = ViTConfig.from_dialect("timm", fields)
        if config is not None:
            says = seen(match.variant, shapes)
            config, remarks = made_in_code(config, match, says, asked, raw.path)
    if config is None:
        return _timm_preset(asked, match, raw), ()
    if fields is None:
        return replace(asked, beside=config), remarks
    return replace(asked, config=config), remarks


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
