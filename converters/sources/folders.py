"""Folders that other libraries save: the file of weights, and what beside it says.

Only JSON is read. What a folder's config says stands below what the caller says; where
the caller gives a config or a preset, the folder's own is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, printable, refusal
from converters.files import FOLDER_CONFIG, FOLDER_WEIGHTS
from converters.files.closed import check_config
from converters.files.json_file import read_json
from converters.libraries.huggingface.model_json import ModelJson, TimmJson
from converters.libraries.keras_hub.file import (
    TASK_WEIGHTS,
    WEIGHTS as BACKBONE_WEIGHTS,
    is_preset,
    preset_config,
)
from converters.libraries.monai.bundle import is_bundle, open_bundle, weights_in
from converters.sources.leftovers import check_one_model, no_model, training_weights
from vit_config import ConfigError, ViTConfig

INDEX = "model.safetensors.index.json"
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"

TORCH_INDEX = "pytorch_model.bin.index.json"
WEIGHTS = (
    *(FOLDER_WEIGHTS, INDEX, "pytorch_model.bin", TORCH_INDEX),
    *("pytorch_model.pth", "model.pth", "tf_model.h5"),
    *("flax_model.msgpack", "flax_model.msgpack.index.json"),
)
"""The names that weights have in a folder; the first that is there counts."""

OPEN_CLIP = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = (
    *("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"),
    *("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth"),
)
"""In open_clip's own order, which comes to the names in `WEIGHTS` afterwards."""

PRESET_WEIGHTS = (BACKBONE_WEIGHTS, TASK_WEIGHTS)

ADAPTER = "adapter_config.json"
"""Beside the weights it means: the model is these and an adapter's."""


def parts_of(source: Path) -> tuple[Path, ...]:
    """The files that a file or folder of weights may be read from."""
    from converters.files.sharded_file import shards_of

    index = source / INDEX if source.is_dir() else source
    files = [source]
    if source.is_dir():
        files += [source / name for name in (*WEIGHTS, *PRESET_WEIGHTS)]
        files += [source / name for name in OPEN_CLIP_WEIGHTS]
        files += weights_in(source)
    if index.name.endswith(".index.json"):
        with suppress(ConversionError):  # said when it is opened
            files += shards_of(index)
    return tuple(files)


Edit = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Folder:
    """A folder of weights.

    Attributes:
        weights: The file with the weights, or the index of several.
        dialect: Whose names they have, `"timm"`; None if the names have to tell.
        config: The model's config, if it was read.
        json: Instead, a config.json that cannot be read without the tensors.
    """

    weights: Path
    dialect: str | None = None
    config: ViTConfig | None = None
    json: ModelJson | TimmJson | None = None


def library_folder(
    path: Path,
    configured: bool,
    transforms: bool = True,
    edit: Edit = lambda fields: fields,
) -> Folder | None:
    """Recognises a folder of another library; None for any other.

    Args:
        path: A folder.
        configured: Whether the caller says which model it is.
        transforms: Whether to read what a bundle does around its network.
        edit: Makes of the `config.json` that of the model which an adapter makes of it.

    Raises:
        ConversionError: If there are no weights in it.
        ConfigError: If its config describes no model of this library.
    """
    config = path / FOLDER_CONFIG
    if not config.exists():
        if is_bundle(path):
            weights, read = open_bundle(path, configured, transforms)
            return Folder(weights, "monai", read)
        if (path / OPEN_CLIP).exists():
            return _open_clip(path, configured)
        return Folder(_weights(path))
    fields = edit(read_json(config))
    if "model_type" in fields:
        if not configured:
            check_config(fields, path)
        weights = _weights(path)
        model = None if configured else ModelJson(fields, _preprocessing(path))
        return Folder(weights, "huggingface", json=model)
    if "architecture" in fields:
        weights = _weights(path)
        json = None if configured else TimmJson(fields)
        return Folder(weights, "timm", json=json)
    if is_preset(path):
        read = None if configured else preset_config(path)
        return Folder(path, "keras_hub", read)
    return None


def _open_clip(path: Path, configured: bool) -> Folder:
    own = [path / name for name in OPEN_CLIP_WEIGHTS if (path / name).exists()]
    weights = own[0] if own else _weights(path)
    if configured:
        return Folder(weights, "openai_clip")
    read = ViTConfig.from_dialect("openai_clip", read_json(path / OPEN_CLIP))
    clipa = not read.pre_norm and read.fc_norm
    return Folder(weights, "openai_clip@clipa" if clipa else "openai_clip", read)


def _weights(path: Path) -> Path:
    both_problem(path)
    if (path / ADAPTER).exists():
        raise adapter_problem(path)
    for name in WEIGHTS:
        if (path / name).exists():
            check_one_model(path, path / name)
            return path / name
    found = training_weights(path)
    if found is None:
        raise no_model(path)
    return found


def adapter_problem(path: Path | str) -> ConversionError:
    """What to say of a folder with an adapter beside the weights."""
    return refusal(
        f"{ADAPTER} is there: an adapter changes what these weights compute",
        file=path,
        hint="Put its adapter_model.safetensors there, too, and give its base; or name "
        "the file of weights, to have them without it.",
    )


def both_problem(path: Path) -> None:
    """Refuses a folder with a whole file and an index of shards.

    Raises:
        ConversionError: If both are there.
    """
    if (path / FOLDER_WEIGHTS).exists() and (path / INDEX).exists():
        text = f"both {FOLDER_WEIGHTS} and {INDEX} are there"
        raise refusal(text, file=path, hint="Name the one that is meant.")


def _preprocessing(path: Path) -> Mapping[str, Any] | None:
    """What is said of images: that beside other processors counts, as in Transformers.

    Raises:
        ConfigError: If it is there and no object.
    """
    processor = path / PROCESSOR
    if processor.exists():
        found = read_json(processor).get("image_processor")
        if found is not None and not isinstance(found, Mapping):
            line = f"image_processor: found {printable(found)}; an object"
            raise ConfigError([line], PROCESSOR)
        if found is not None:
            return found
    own = path / PREPROCESSOR
    return read_json(own) if own.exists() else None
