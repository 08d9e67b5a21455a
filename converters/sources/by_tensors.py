"""What a config cannot say by itself, and the tensors beside it do."""

from __future__ import annotations

from dataclasses import replace

from converters.errors import printable, refusal
from converters.libraries.heads import Head
from converters.libraries.huggingface.model_class import config_of_class
from converters.libraries.huggingface.model_json import ModelJson, TimmJson
from converters.libraries.recognise import Match
from converters.libraries.tensor_fields import seen
from converters.libraries.timm import config_names as timm_names
from converters.libraries.timm.code import made_in_code
from converters.sources.dialect_reader import RawFile
from converters.sources.request import Asked, library_fields
from vit_config import ViTConfig
from vit_config.presets import preset_names


def by_tensors(
    asked: Asked, match: Match, raw: RawFile, head: Head | None = None
) -> tuple[Asked, tuple[str, ...]]:
    """The caller's word, with what only the tensors say of a config, and remarks.

    Args:
        asked: The caller's word.
        match: Dialect and variant of the tensors.
        raw: The file.
        head: A layer beside the model that is read as its head: a config is then of the
            model alone, or knows the head.

    Raises:
        ConversionError: If the tensors do not decide.
        ConfigError: If a config describes no model.
    """
    shapes = {
        name.removeprefix(match.prefix): info.shape
        for name, info in raw.tensors.items()
        if name.startswith(match.prefix)
    }
    given = _given_json(asked, match)
    json = given or asked.json
    remarks: tuple[str, ...] = ()
    if isinstance(json, ModelJson):
        json = json.without(asked.changes)
        if _pooled(asked, head):
            _check_pooler(json, raw)
        if head is not None and json.stated is not None:
            config = json.read()
        else:
            config, remarks = config_of_class(json, match, shapes, asked, raw.path)
    elif isinstance(json, TimmJson):
        says = seen(match.variant, shapes)
        config = json.read(asked.changes)
        config, remarks = made_in_code(config, match, says, asked, raw.path)
    else:
        return _timm_preset(asked, match, raw), ()
    remarks += json.remarks(config)
    if given is None:
        return replace(asked, beside=config), remarks
    return replace(asked, config=config, config_origin=""), remarks


def _given_json(asked: Asked, match: Match) -> ModelJson | TimmJson | None:
    """The library's own arguments that the caller gives."""
    fields = library_fields(asked.config)
    if fields is None:
        return None
    if match.dialect.config == "huggingface" and "model_type" in fields:
        return ModelJson(fields)
    return TimmJson(fields) if match.dialect.config == "timm" else None


def _pooled(asked: Asked, head: Head | None) -> bool:
    """Whether the output goes through the pooler."""
    through = bool(asked.changes.get("representation_size"))
    return through or (head is not None and head.pooler)


def _check_pooler(json: ModelJson, raw: RawFile) -> None:
    """Whether the pooler is the one of the schema.

    Raises:
        ConversionError: If its activation is another than tanh.
    """
    act = json.fields.get("pooler_act", "tanh")
    if act != "tanh":
        raise refusal(
            f"pooler_act: found {printable(repr(act))}; only 'tanh' is in the schema",
            file=raw.path,
            kind="config",
        )


def _timm_preset(asked: Asked, match: Match, raw: RawFile) -> Asked:
    """A preset that is one of timm's own names; the head is the file's.

    Raises:
        ConfigError: If it is timm's name of a model that is no plain ViT.
    """
    name = (asked.preset or "").partition(".")[0]
    known = match.variant.architectures and timm_names.is_architecture(name)
    if not known or name in preset_names():
        return asked
    config = ViTConfig.from_dialect("timm", {"architecture": asked.preset})
    head = raw.tensors.get(f"{match.prefix}head.weight")
    classes = head.shape[0] if head is not None and head.shape else 0
    if "num_classes" not in asked.changes and classes != config.num_classes:
        config = config.replace(num_classes=classes)
    origin = f"preset {asked.preset}"
    return replace(asked, preset=None, config=config, config_origin=origin)
