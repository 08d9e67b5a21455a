"""Opens whatever holds weights: our own files as they are, others by their dialect."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from converters.dialects import find
from converters.dialects.base import Dialect
from converters.dialects.derive import Given
from converters.dialects.folders import (
    INDEX,
    both_problem,
    library_folder,
    read_json,
)
from converters.dialects.reading import DialectReader, RawFile
from converters.dialects.recognise import Match, matches, recognise
from converters.files import open_reader
from converters.files.base import FORMATS, Reader, merge_configs
from converters.files.keras_hub_file import KerasHubFile, is_preset
from converters.hub import Located, is_hub, locate
from converters.live import is_module, open_module
from converters.report import ConversionError, Issue, printable, refusal
from vit_config import ConfigError, SourceConfig, ViTConfig
from vit_config.dialects import timm_names
from vit_config.dialects.compare import differences

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")

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
        beside: What the library's config in the same folder says; the caller's config
            or preset stands above it.
        lacking: Whether tensors may be missing that the config asks for.
        origin: Where on the hub the source comes from.
    """

    dialect: str | None = None
    prefix: str | None = None
    config: ConfigLike | None = None
    preset: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    beside: ViTConfig | None = None
    lacking: bool = False
    origin: Located | None = None


def located(source: Any, asked: Asked) -> tuple[Path, Asked]:
    """The file or folder of a source, downloaded if it is on the hub.

    Raises:
        ConversionError: If it cannot be had from there.
        MissingExtraError: If huggingface_hub is needed and not installed.
    """
    if not is_hub(source):
        return Path(source), asked
    found = locate(source)
    return found.path, replace(asked, origin=found)


def open_source(source: Any, asked: Asked) -> Reader:
    """Opens a file or folder of weights, a model of the hub, or a live one.

    Raises:
        ConversionError: If it is not what its name says, if its dialect is not certain,
            or if the config is incomplete or at odds with it.
        ConfigError: If the config describes no model.
    """
    if is_module(source):
        return open_module(source, asked)
    path, asked = located(source, asked)
    with ExitStack() as stack:
        raw, asked = open_raw(path, asked)
        if raw is None:
            return _own(path, asked)
        stack.callback(raw.close)
        reader = read_raw(raw, asked)
        stack.pop_all()
        return reader


def open_raw(path: Path, asked: Asked) -> tuple[RawFile | None, Asked]:
    """The file that may hold another library's names, and how it is to be read.

    Returns:
        The open file, or None for our own formats; and `asked`, with what a folder
        beside the weights says.

    Raises:
        ConversionError: If it is not what its name says.
        ConfigError: If a config beside the weights describes no model.
    """
    if asked.config is not None and asked.preset is not None:
        raise refusal("give a preset or a config, not both", kind="config")
    path, asked = _library_folder(path, asked)
    return _foreign_file(path), asked


def _library_folder(path: Path, asked: Asked) -> tuple[Path, Asked]:
    """A folder that another library saved: its file, read by its own config."""
    if not path.is_dir():
        return path, asked
    given = asked.config is not None or asked.preset is not None
    folder = library_folder(path, given, transforms="data" not in asked.changes)
    if folder is None:
        return path, asked
    dialect = asked.dialect or folder.dialect
    return folder.weights, replace(asked, beside=folder.config, dialect=dialect)


def _foreign_file(path: Path) -> RawFile | None:
    """The file, if it may hold names of another library; None for our own formats."""
    if is_preset(path):
        return KerasHubFile(path)
    if path.is_dir():
        index = path / INDEX
        if not index.exists():
            return None
        both_problem(path)
        path = index
    if path.name.endswith(TORCH_SUFFIXES):
        from converters.files.torch_file import TorchFile

        return TorchFile(path)
    if path.name.endswith(".npz"):
        from converters.files.npz_file import NpzFile

        return NpzFile(path)
    if path.name.endswith(".index.json"):
        from converters.files.sharded_file import ShardedFile

        return ShardedFile(path)
    if path.name.endswith(".safetensors") and path.name != ".safetensors":
        from converters.files.safetensors_file import SafetensorsReader

        return SafetensorsReader(path)
    return None


def _own(path: Path, asked: Asked) -> Reader:
    if asked.dialect is not None or asked.prefix is not None:
        suffix = f"; {', '.join(FORMATS)}" if not path.exists() else ""
        if not path.is_dir():
            raise refusal(
                f"--from and --prefix are for files of PyTorch weights{suffix}",
                file=path,
            )
    return open_reader(path, _given(asked, None).whole())


def read_raw(raw: RawFile, asked: Asked) -> Reader:
    """A reader for an open file, once dialect and config are certain.

    Raises:
        ConversionError: If its dialect is not certain, or if the config is incomplete
            or at odds with it.
        ConfigError: If the config describes no model.
    """
    reader = _read_raw(raw, asked)
    if asked.origin is not None and isinstance(reader, DialectReader):
        reader.config = _stamped(reader.config, asked.origin)
    return reader


def _stamped(config: ViTConfig, origin: Located) -> ViTConfig:
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


def _read_raw(raw: RawFile, asked: Asked) -> Reader:
    own = getattr(raw, "own_config", None)
    written = getattr(raw, "own_dialect", "")
    if own is not None and asked.dialect is None and asked.prefix is None:
        if not written:
            return _canonical(raw, asked)
        dialect, variants = find(written)
        match = Match(dialect, variants[0], "")
        given = _given(asked, match.dialect)
        _same(raw.path, own, given)
        return DialectReader(raw, match, own)
    if asked.dialect is None and asked.prefix is None and _is_ours(asked.config):
        fits = matches(raw.tensors)
        if raw.format == "safetensors" and (not fits or _timm(fits)):
            return _canonical(raw, asked)
    match = recognise(raw.tensors, asked.dialect, asked.prefix, raw.path)
    asked = _timm_preset(asked, match, raw)
    given = _given(asked, match.dialect)
    if own is not None and asked.beside is not None:
        given = Given(_beside(raw.path, own, asked.beside), None, asked.changes)
    elif own is not None:
        _same(raw.path, own, given)
        given = Given(own)
    reader = DialectReader.opened(raw, match, given, asked.prefix is not None)
    if own is None and given.config is not None and given.config.source is not None:
        reader.steps = (*given.config.source.steps, *reader.steps)
    return reader


def _timm(fits: list[Any]) -> bool:
    return all(match.dialect.name == "timm" and not match.prefix for match in fits)


def _canonical(raw: RawFile, asked: Asked) -> Reader:
    raw.close()
    own: ViTConfig | None = getattr(raw, "own_config", None)
    given = _given(asked, None)
    whole = given.whole()
    if whole is None and own is not None and given.changes:
        whole = own.replace(**given.changes)
    return open_weights(raw.path, whole)


def open_weights(path: Path, config: ViTConfig | None = None) -> Reader:
    """A file of canonical names, whole or in shards.

    Raises:
        ConversionError: If it is not what its name says.
    """
    if path.name.endswith(".index.json"):
        from converters.files.sharded_file import ShardedFile

        return ShardedFile(path, config)
    return open_reader(path, config)


def _same(path: Path, own: ViTConfig, given: Given) -> None:
    whole = given.whole()
    if whole is None and given.changes:
        whole = own.replace(**given.changes)
    merge_configs(path, own, whole)


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
    return replace(asked, preset=None, config=config)


def _beside(path: Path, own: ViTConfig, beside: ViTConfig) -> ViTConfig:
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


def _is_ours(config: ConfigLike | None) -> bool:
    """Whether a config was given that is certainly one of this schema."""
    if config is None or isinstance(config, ViTConfig):
        return config is not None
    fields = _fields(config)
    return "schema_version" in fields or set(fields) <= set(ViTConfig.model_fields)


def _given(asked: Asked, dialect: Dialect | None) -> Given:
    return replace(_read_given(asked, dialect), lacking=asked.lacking)


def _read_given(asked: Asked, dialect: Dialect | None) -> Given:
    config = asked.config
    if config is None and asked.preset is None:
        config = asked.beside
    if config is None or isinstance(config, ViTConfig):
        return Given(config, asked.preset, asked.changes)
    fields = _fields(config)
    reader = dialect.config if dialect is not None else ""
    if not reader or "schema_version" in fields:
        return Given(ViTConfig.from_dict(fields), None, asked.changes)
    try:
        read = ViTConfig.from_dialect(reader, fields)
    except ConfigError:
        if not set(fields) <= set(ViTConfig.model_fields):
            raise
        read = ViTConfig.from_dict(fields)
    return Given(read, None, asked.changes)


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
    import json

    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name or name in found:
            why = "stands twice" if name in found else "expected FIELD=JSON"
            raise _option(f"--set {printable(text)}: {why}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            if not value.replace("_", "").isalnum():
                raise _option(f"--set {printable(text)}: not JSON") from None
            found[name] = value
    return found


def _option(text: str) -> ConversionError:
    return refusal(text, kind="config")
