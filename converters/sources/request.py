"""How a caller wants a source to be read, and the config that follows from it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from converters.arguments import (
    check_fields,
    check_path,
    check_text,
    patterns,
    size_numbers,
)
from converters.errors import ConversionError, Issue, printable, refusal
from converters.files.json_file import read_json
from converters.libraries.config_differences import differences
from converters.libraries.given import UNSEEN, Given
from converters.libraries.huggingface.model_json import ModelJson, TimmJson
from converters.libraries.variant import Dialect
from converters.sources.hub import Located
from converters.wording import option, setting
from vit_config import ConfigError, SourceConfig, ViTConfig

ConfigLike = ViTConfig | Mapping[str, Any] | str | os.PathLike[str]


@dataclass(frozen=True)
class Asked:
    """How the caller wants a source to be read.

    Attributes:
        dialect: Dialect or variant, or None to recognise it.
        prefix: What stands before the model's names, or None to find it.
        config: Our config or the library's own arguments: object, dict or JSON file.
        preset: Name of a preset.
        changes: Fields of our config that stand above all others.
        drop: Patterns of tensors to leave out.
        head: Name of the linear layer that is taken for the model's head.
        base: Of a PEFT adapter: the model that it was trained on.
        beside: What the library's config in the same folder says; the caller's config
            or preset stands above it.
        json: The same, where it cannot be read before the tensors are known.
        lacking: Whether tensors may be missing that the config asks for.
        origin: Where on the hub the source comes from.
        config_origin: What the config came from, in the words of `Given.origin`.
    """

    dialect: str | None = None
    prefix: str | None = None
    config: ConfigLike | None = None
    preset: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    head: str | None = None
    base: str | os.PathLike[str] | None = None
    beside: ViTConfig | None = None
    json: ModelJson | TimmJson | None = None
    lacking: bool = False
    origin: Located | None = None
    config_origin: str = "config"

    @property
    def of_names(self) -> tuple[str, ...]:
        """The arguments among these that are about the names of tensors."""
        given = {
            "from_dialect": self.dialect is not None,
            "prefix": self.prefix is not None,
            "drop": bool(self.drop),
            "head": self.head is not None,
        }
        return tuple(name for name, there in given.items() if there)

    @classmethod
    def by(
        cls,
        from_dialect: str | None = None,
        prefix: str | None = None,
        config: ConfigLike | None = None,
        preset: str | None = None,
        changes: Mapping[str, Any] | None = None,
        drop: str | Sequence[str] = (),
        head: str | None = None,
        base: str | os.PathLike[str] | None = None,
        *,
        lacking: bool = False,
    ) -> Asked:
        """From the arguments that every function has that reads a source.

        Raises:
            ConversionError: If one of them is of a wrong type.
        """
        return cls(
            from_dialect,
            prefix,
            config,
            preset,
            {} if changes is None else changes,
            patterns("drop", drop),
            head,
            base,
            lacking=lacking,
        )

    def __post_init__(self) -> None:
        check_text("from_dialect", self.dialect)
        check_text("prefix", self.prefix)
        check_text("preset", self.preset)
        check_fields("changes", self.changes)
        object.__setattr__(self, "changes", _with_sizes(self.changes))
        check_text("head", self.head)
        if self.base is not None:
            check_path("base", self.base, "a path, or None,")
        if isinstance(self.config, ViTConfig) or self.config is None:
            return
        if isinstance(self.config, Mapping):
            check_fields("config", self.config)
        else:
            check_path("config", self.config, "a ViTConfig, a dict, or a JSON file")


def _with_sizes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes may be spelled as for `image_size`: `"64x64x32"`.

    Raises:
        ConversionError: If a text is no size.
    """
    found = dict(changes)
    for name in ("img_size", "patch_size"):
        value = found.get(name)
        if isinstance(value, str):
            numbers = size_numbers(value)
            if not numbers:
                text = f"{setting(**{name: printable(value)})}; expected a size like "
                raise refusal(f"{text}224 or 224x224", kind="config")
            found[name] = list(numbers) if len(numbers) > 1 else numbers[0]
    return found


def is_ours(config: ConfigLike | None) -> bool:
    """Whether a config was given that is certainly one of this schema."""
    if config is None or isinstance(config, ViTConfig):
        return config is not None
    fields = _fields(config)
    return "schema_version" in fields or set(fields) <= set(ViTConfig.model_fields)


def library_fields(config: ConfigLike | None) -> Mapping[str, Any] | None:
    """A config in the library's own terms, or None if it is one of this schema."""
    return None if config is None or is_ours(config) else _fields(config)


def given_config(asked: Asked, dialect: Dialect | None) -> Given:
    """What the caller, or the folder, says about the model.

    Args:
        asked: How the source is to be read.
        dialect: Whose names it has, and so whose arguments a config may hold.

    Raises:
        ConfigError: If it describes no model.
        ConversionError: If a config cannot be read.
    """
    return replace(_read_given(asked, dialect), lacking=asked.lacking)


def _read_given(asked: Asked, dialect: Dialect | None) -> Given:
    config, origin = asked.config, asked.config_origin
    if config is None and asked.preset is None:
        config, origin = asked.beside, ""
    if config is None or isinstance(config, ViTConfig):
        return Given(config, asked.preset, asked.changes, origin)
    fields = _fields(config)
    reader = dialect.config if dialect is not None else ""
    if not reader or "schema_version" in fields:
        return _from_json(fields, asked)
    try:
        read = ViTConfig.from_dialect(reader, fields)
    except ConfigError:
        if not set(fields) <= set(ViTConfig.model_fields):
            raise
        return _from_json(fields, asked)
    return Given(read, None, asked.changes)


def _from_json(fields: Mapping[str, Any], asked: Asked) -> Given:
    """A config of this schema, and what it leaves open: a default proves nothing."""
    unstated = frozenset({*UNSEEN, "rope"} - set(fields) - set(asked.changes))
    config = ViTConfig.from_dict(fields)
    return Given(config, None, asked.changes, unstated=unstated)


def _fields(config: ConfigLike) -> Mapping[str, Any]:
    if isinstance(config, ViTConfig):
        return config.to_dict()
    if isinstance(config, Mapping):
        return config
    return read_json(Path(config))


def parse_changes(texts: list[str]) -> dict[str, Any]:
    """Reads `["num_heads=12", 'act_layer="gelu"']`; a bare word is a text.

    Raises:
        ConversionError: For anything else, or for a field that stands twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name or name in found:
            why = "stands twice" if name in found else "expected FIELD=JSON"
            raise _option(f"{option('changes')} {printable(text)}: {why}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            if not value.replace("_", "").isalnum():
                raise _option(
                    f"{option('changes')} {printable(text)}: not JSON"
                ) from None
            found[name] = value
    return found


def _option(text: str) -> ConversionError:
    return refusal(text, kind="config")


def with_beside(path: Path, own: ViTConfig, beside: ViTConfig) -> ViTConfig:
    """Our own config of a file in a library's folder, with what that library's says.

    The library's cannot say all that ours does (how positions are resampled, what was
    dropped in training), but labels and preprocessing may have been edited there.
    """
    issues = [Issue("config", "", found=line) for line in differences(own, beside)]
    if issues:
        hint = "The config in the file and the one beside it are of different models."
        raise ConversionError(issues, file=path, hint=hint)
    told = beside.to_dict()
    said = {k: told[k] for k in ("data", "labels", "problem_type") if told[k]}
    return own.replace(**said)


def stamped(config: ViTConfig, origin: Located) -> ViTConfig:
    """The config with what the hub knows of the model."""
    source = config.source or SourceConfig()
    found = {
        **source.model_dump(mode="json"),
        "name": origin.name,
        "revision": origin.revision,
        "sha256": source.sha256 or origin.sha256,
        "licence": source.licence or origin.licence,
        "pretraining_data": source.pretraining_data or origin.datasets,
    }
    return config.replace(source=found)
