"""Opens whatever holds weights: our own files as they are, others by their dialect."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.arguments import check_path
from converters.checks.source import with_steps
from converters.errors import ConversionError, refusal
from converters.files import FOLDER_WEIGHTS, open_reader
from converters.files.base import FORMATS, READ_ONLY, TORCH, Reader, merge_configs
from converters.files.closed import check_floats, check_open
from converters.libraries import find
from converters.libraries.dropping import matching
from converters.libraries.given import Given
from converters.libraries.infer import check_doubts
from converters.libraries.keras_hub.file import KerasHubFile, is_preset
from converters.libraries.recognise import Match, matches, recognise
from converters.sources.adapters.lora_state import is_peft
from converters.sources.adapters.merged import MergedFile
from converters.sources.adapters.opening import (
    is_adapter,
    merged_alone,
    merged_into,
    read_adapter,
    trained_head,
    weights_of,
    without_base,
)
from converters.sources.by_tensors import by_tensors
from converters.sources.choice import Choice, choice_of, has_extras, with_extras
from converters.sources.dialect_reader import DialectReader, RawFile
from converters.sources.folders import INDEX, Edit, both_problem, library_folder
from converters.sources.hub import adapted_origin, is_hub, locate
from converters.sources.leftovers import is_dcp, whole_of
from converters.sources.live import is_module, open_module
from converters.sources.request import (
    Asked,
    given_config,
    is_ours,
    stamped,
    with_beside,
)
from converters.sources.statements import BY_TENSORS, with_statements
from converters.twins.live import is_twin
from converters.wording import option
from vit_config import ViTConfig


def located(source: Any, asked: Asked) -> tuple[Path, Asked]:
    """The file or folder of a source, downloaded if it is on the hub.

    Raises:
        ConversionError: If it cannot be had from there.
        MissingExtraError: If huggingface_hub is needed and not installed.
    """
    if not is_hub(source):
        path = path_of(source)
        if not path.exists():
            raise refusal("no such file or folder", file=path, hint=_of_hub(source))
        return path, asked
    found = locate(source)
    return found.path, replace(asked, origin=found)


def _of_hub(source: Any) -> str:
    """What to write for a model of the hub, where a path looks like its name."""
    text = str(source)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", text):
        return ""
    if Path(text).parent.exists() or text.endswith((*FORMATS, *READ_ONLY)):
        return ""
    return f"A model of the Hugging Face Hub is read as hf://{text}"


def path_of(source: Any) -> Path:
    """The file or folder that a source is.

    Raises:
        ConversionError: If it is no path.
    """
    check_path("source", source, 'a path, "hf://org/name" or a live model')
    return Path(source)


def open_source(source: Any, asked: Asked) -> Reader:
    """Opens a file or folder of weights, a model of the hub, or a live one.

    Raises:
        ConversionError: If it is not what its name says, if its dialect is not certain,
            or if the config is incomplete or at odds with it.
        ConfigError: If the config describes no model.
    """
    if is_twin(source):
        raise refusal(
            "a model of this package",
            file=type(source).__name__,
            hint="It saves itself: model.save_pretrained(path); give that path.",
        )
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
    if is_adapter(path):
        return _adapted(path if path.is_dir() else path.parent, asked)
    if asked.base is not None:
        text = f"{option('base')} is for a PEFT adapter, and this is none"
        raise refusal(text, file=path, kind="config")
    return _raw(path, asked)


def _raw(
    path: Path, asked: Asked, edit: Edit = lambda fields: fields
) -> tuple[RawFile | None, Asked]:
    """A file that is no adapter; one with its base and an adapter in it is merged."""
    path, asked = _library_folder(whole_of(path), asked, edit)
    check_open(path)
    raw = _foreign_file(path)
    if raw is None:
        return raw, asked
    with ExitStack() as stack:
        stack.callback(raw.close)
        check_floats(raw.tensors, raw.path)
        if not is_peft(raw.tensors):
            stack.pop_all()
            return raw, asked
        merged = merged_alone(raw)
        stack.pop_all()
        return merged, asked


def _adapted(folder: Path, asked: Asked) -> tuple[RawFile, Asked]:
    """An adapter merged into its base, read as the base would be."""
    file, origin = weights_of(folder), asked.origin
    with ExitStack() as stack:
        adapter = _foreign_file(file)
        if adapter is None:
            raise refusal("not a file of weights", file=file)
        stack.callback(adapter.close)
        config, state = read_adapter(folder, adapter)
        if asked.base is None:
            raise without_base(folder, config)
        path, asked = located(asked.base, replace(asked, base=None))
        asked = replace(asked, origin=adapted_origin(origin, asked.origin))
        base, asked = _raw(path, asked, trained_head(state, adapter))
        if base is None and (path / FOLDER_WEIGHTS).is_file():
            base = _foreign_file(path / FOLDER_WEIGHTS)
        if base is None:
            raise refusal(
                "an adapter's base has to be a file or folder of PyTorch weights",
                file=path,
                kind="config",
            )
        stack.callback(base.close)
        merged = merged_into(base, adapter, config, state)
        stack.pop_all()
        return merged, asked


def _library_folder(
    path: Path, asked: Asked, edit: Edit = lambda fields: fields
) -> tuple[Path, Asked]:
    """A folder that another library saved: its file, read by its own config."""
    if not path.is_dir():
        return path, asked
    given = asked.config is not None or asked.preset is not None
    transforms = "data" not in asked.changes
    folder = library_folder(path, given, transforms, edit)
    if folder is None:
        return path, asked
    dialect = asked.dialect or folder.dialect
    return folder.weights, replace(
        asked, beside=folder.config, json=folder.json, dialect=dialect
    )


def _foreign_file(path: Path) -> RawFile | None:
    """The file, if it may hold names of another library; None for our own formats."""
    if is_preset(path):
        return KerasHubFile(path)
    if is_dcp(path):
        from converters.files.dcp_folder import DcpFolder

        return DcpFolder(path)
    if path.is_dir():
        index = path / INDEX
        if not index.exists():
            return None
        both_problem(path)
        path = index
    if path.name.endswith(TORCH):
        from converters.files.torch_file import TorchFile

        return TorchFile(path)
    if path.name.endswith(".h5") and not path.name.endswith(".weights.h5"):
        from converters.files.tf_h5_file import TfH5File

        return TfH5File(path)
    if path.name.endswith(".npz"):
        from converters.files.npz_file import NpzFile

        return NpzFile(path)
    if path.name.endswith(".msgpack"):
        from converters.files.msgpack_file import MsgpackFile

        return MsgpackFile(path)
    if path.name.endswith(".index.json"):
        from converters.files.sharded_file import ShardedFile

        return ShardedFile(path)
    if path.name.endswith(".safetensors") and path.name != ".safetensors":
        from converters.files.safetensors_file import SafetensorsReader

        return SafetensorsReader(path)
    if path.is_file() and not path.name.endswith(tuple(FORMATS)):
        from converters.files.torch_file import TorchFile, is_torch

        return TorchFile(path) if is_torch(path) else None
    return None


def _own(path: Path, asked: Asked) -> Reader:
    if asked.of_names and not path.is_dir():
        suffix = f"; {', '.join(FORMATS)}" if not path.exists() else ""
        names = ", ".join(map(option, asked.of_names))
        raise refusal(f"{names}: for files of PyTorch weights only{suffix}", file=path)
    given = given_config(asked, None)
    reader = open_reader(path, given.whole())
    if not given:
        return reader
    with reader:
        config = reader.config
        if given.whole() is None:
            config = config.replace(**given.fields)
    return open_reader(path, _stated(config, given, reader))


def _stated(config: ViTConfig, given: Given, file: Any) -> ViTConfig:
    """The config of a file of our own names, with what only the caller says of it."""
    own: ViTConfig | None = getattr(file, "own_config", None)
    return with_statements(config, given, BY_TENSORS, own)


def read_raw(raw: RawFile, asked: Asked) -> Reader:
    """A reader for an open file, once dialect and config are certain.

    Raises:
        ConversionError: If its dialect is not certain, or if the config is incomplete
            or at odds with it.
        ConfigError: If the config describes no model.
    """
    reader = _read_raw(raw, asked)
    if isinstance(raw, MergedFile) and isinstance(reader, DialectReader):
        reader.steps = (*raw.steps, *reader.steps)
        reader.config = with_steps(reader.config, raw.steps)
        reader.dropped |= raw.dropped
    if asked.origin is not None and isinstance(reader, DialectReader):
        reader.config = stamped(reader.config, asked.origin)
    return reader


def _read_raw(raw: RawFile, asked: Asked) -> Reader:
    own = getattr(raw, "own_config", None)
    written = getattr(raw, "own_dialect", "")
    if own is not None and not asked.of_names:
        if not written:
            return _canonical(raw, asked)
        dialect, variants = find(written)
        match = Match(dialect, variants[0], "")
        given = _same(raw.path, own, given_config(asked, match.dialect))
        config = given.whole() or own
        return DialectReader(raw, match, _stated(config, given, raw))
    if not asked.of_names and is_ours(asked.config):
        fits = matches(raw.tensors)
        plain = not fits or (_timm(fits) and not has_extras(fits[0], raw))
        if raw.format == "safetensors" and plain:
            if len(fits) == 1:
                given = given_config(asked, fits[0].dialect)
                known = {name: info.shape for name, info in raw.tensors.items()}
                check_doubts(fits[0].variant, known, given, raw.path)
            return _canonical(raw, asked)
    left_out = matching(asked.drop, raw.tensors, raw.path)
    match = recognise(raw.tensors, asked.dialect, asked.prefix, raw.path, left_out)
    choice = choice_of(raw, match, asked, left_out)
    try:
        return _read_chosen(raw, match, asked, choice)
    except ConversionError as error:
        raise with_extras(error, raw, match, choice) from None


def _read_chosen(raw: RawFile, match: Match, asked: Asked, choice: Choice) -> Reader:
    own = getattr(raw, "own_config", None)
    asked, remarks = by_tensors(asked, match, raw, choice.head)
    given = given_config(asked, match.dialect)
    if own is not None and asked.beside is not None:
        beside = with_beside(raw.path, own, asked.beside)
        given = Given(beside, None, asked.changes, origin="")
    elif own is not None:
        given = _same(raw.path, own, given)
    reader = DialectReader.opened(raw, match, given, choice)
    if own is None and given.config is not None and given.config.source is not None:
        crops = [t for t in given.config.source.steps if t.startswith("crop_input:")]
        reader.steps = (*crops, *reader.steps)
    reader.remarks = (*remarks, *reader.remarks)
    return reader


def _timm(fits: list[Any]) -> bool:
    return all(match.dialect.name == "timm" and not match.prefix for match in fits)


def _canonical(raw: RawFile, asked: Asked) -> Reader:
    own: ViTConfig | None = getattr(raw, "own_config", None)
    given = given_config(asked, None)
    whole = given.whole()
    if whole is None and own is not None and given.changes:
        whole = own.replace(**given.fields)
    if whole is not None:
        whole = _stated(whole, given, raw)
    if isinstance(raw, MergedFile):
        return raw.as_own(whole)
    raw.close()
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


def _same(path: Path, own: ViTConfig, given: Given) -> Given:
    """The file's own config, with single fields that are no part of the model."""
    changed = own.replace(**given.fields)
    merge_configs(path, own, given.whole() or changed)
    return Given(own, None, given.changes, origin="")
