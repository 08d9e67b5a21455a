"""keras-hub presets: folders of JSON and HDF5, read and written without Keras.

`config.json` and `model.weights.h5` are the backbone; `task.json` and
`task.weights.h5`, where they are there, the classifier on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np

from converters.errors import printable, refusal
from converters.files.base import check_input
from converters.files.h5_file import DROPPED, open_h5, put, refuse_quantised, scan
from converters.files.keras_file import KERAS_VERSION, version_remarks
from converters.libraries.keras_hub import config as dialect
from converters.mapping.pipe import Array, Source, TensorInfo, np_dtype
from vit_config import ConfigError, ViTConfig
from vit_config.strict_json import JsonError, strict_object

CONFIG, TASK, CONVERTER = "config.json", "task.json", "image_converter.json"
WEIGHTS, TASK_WEIGHTS = "model.weights.h5", "task.weights.h5"
METADATA = "metadata.json"
FILES = (CONFIG, METADATA, TASK, CONVERTER, WEIGHTS, TASK_WEIGHTS)
"""What is read of a preset, as far as it is there."""

BACKBONE, CLASSIFIER = "keras_hub>ViTBackbone", "keras_hub>ViTImageClassifier"
VERSION = "0.32.0"
RATE = 5e-5  # of a classifier that nobody compiled otherwise

_BLOCKS = "vi_t_encoder/encoder_layers/vi_t_encoder_block"
_HEAD = ("pre_logits", "predictions")
_SEEDS = "/seed_generator/"


def is_preset(folder: Path) -> bool:
    """Whether a folder's config is one of keras-hub's."""
    config = folder / CONFIG
    if not folder.is_dir() or not config.is_file():
        return False
    try:
        name = strict_object(config.read_bytes()).get("registered_name")
    except (OSError, JsonError):
        return False
    return isinstance(name, str) and name.startswith("keras_hub>")


def preset_config(folder: Path) -> ViTConfig:
    """The config that the JSON files of a preset say.

    Raises:
        ConversionError: If it is a preset of another model.
        ConfigError: If a field has a value that the schema cannot hold.
    """
    parts = {"backbone": _serialised(folder / CONFIG, BACKBONE)}
    if (folder / TASK).exists():
        parts["task"] = _serialised(folder / TASK, CLASSIFIER)
    if (folder / CONVERTER).exists():
        parts["image_converter"] = _serialised(folder / CONVERTER, "")
    return ViTConfig.from_dialect("keras_hub", parts)


def _serialised(path: Path, wanted: str) -> Mapping[str, Any]:
    try:
        found = strict_object(path.read_bytes())
    except OSError as error:
        raise refusal(f"cannot be read: {error.strerror}", file=path) from None
    except JsonError as error:
        raise ConfigError([printable(error, 200)], path.name) from None
    name, config = found.get("registered_name"), found.get("config")
    if wanted and name != wanted:
        text = f"a preset of {printable(name)}; read is {wanted}"
        raise refusal(text, file=path, kind="config")
    if not isinstance(config, Mapping):
        raise ConfigError(["config: required"], path.name)
    return config


class KerasHubFile:
    """The weights of a preset, under the names of `libraries.keras_hub.names`.

    Args:
        path: The folder.

    Raises:
        ConversionError: If a file is not what it should be.
    """

    format = "keras-hub"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: list[Any] = []
        self._places: dict[str, Any] = {}
        self.tensors: dict[str, TensorInfo] = {}
        metadata = path / METADATA
        self.remarks = version_remarks(metadata) if metadata.exists() else ()
        try:
            self._open(WEIGHTS, _backbone_name)
            if (path / TASK).exists():
                self._open(TASK_WEIGHTS, _task_name)
        except BaseException:
            self.close()
            raise

    def _open(self, name: str, rename: Any) -> None:
        path = self.path / name
        check_input(path, "weights.h5")
        h5 = open_h5(path)
        self._files.append(h5)
        for place, info in scan(h5, path).items():
            if place.startswith(DROPPED) or _SEEDS in place:
                continue  # state of training; a key of a random stream
            if info.dtype in ("int8", "uint8"):
                raise refuse_quantised(path, info.dtype)
            known = rename(h5, place)
            if known in self.tensors:
                text = f'"{printable(place)}" and another one are the same weight'
                raise refusal(text, file=path)
            self.tensors[known] = info
            self._places[known] = h5[place]

    def read(self, name: str) -> Array:
        """The values of one tensor."""
        info = self.tensors[name]
        try:
            raw = self._places[name][()]
        except (OSError, RuntimeError, KeyError) as error:
            text = printable(error, 200)
            raise refusal(f"{name}: damaged HDF5: {text}", file=self.path) from None
        return np.ascontiguousarray(raw).view(np_dtype(info.dtype)).reshape(info.shape)

    def close(self) -> None:
        """Lets the files go."""
        for h5 in self._files:
            h5.close()
        self._files, self._places = [], {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _backbone_name(h5: Any, place: str) -> str:
    """Our name of a place; blocks are counted from 0, and have to say so."""
    name = place.removeprefix("layers/")
    if not name.startswith(_BLOCKS):
        return name
    number, _, tail = name.removeprefix(_BLOCKS).partition("/")
    index = number.removeprefix("_") or "0"
    if number == "_0" or not index.isdecimal():
        return name
    group = f"layers/{_BLOCKS}{number}/vars"
    noted = h5[group].attrs.get("name") if group in h5 else None
    if noted != f"transformer_block_{int(index) + 1}":
        return name  # in another order than the names say: refused as unexpected
    return f"{_BLOCKS}_{index}/{tail}"


def _task_name(h5: Any, place: str) -> str:
    """Layers of the classifier are known by the names that Keras notes."""
    group, _, leaf = place.rpartition("/")
    noted = h5[group].attrs.get("name") if group in h5 else None
    head = place.startswith("layers/dense") and noted in _HEAD
    return f"{noted}/vars/{leaf}" if head else f"task/{place}"


# ---- writing -----------------------------------------------------------------------


def write_preset(folder: Path, source: Source, config: ViTConfig) -> None:
    """Writes a preset that `keras_hub.models.*.from_preset` loads.

    No date stands in it, so that the same model is the same bytes. A preprocessor is
    not written.

    Args:
        folder: An empty folder.
        source: Tensors under the names of `converters.libraries.keras_hub.names`.
        config: Their config, which has to be one that the library holds.
    """
    dtype = next(iter(source.tensors.values())).dtype
    arguments, task = dialect.write_fields(config)
    backbone = _object("vit_backbone", "ViTBackbone", "vi_t_backbone", dtype, arguments)
    _json(folder / CONFIG, backbone)
    names = [name for name in source.tensors if not name.startswith(_HEAD)]
    size = sum(source.tensors[name].size for name in names)
    _json(
        folder / METADATA,
        {
            "keras_version": KERAS_VERSION,
            "keras_hub_version": VERSION,
            "parameter_count": size,
            "tasks": ["ImageClassifier"],
        },
    )
    places = ((name, *_backbone_place(name)) for name in names)
    _h5(folder / WEIGHTS, source, places, "vi_t_backbone")
    if task is None:
        return
    given = {"backbone": backbone, "preprocessor": None, **task}
    home, kind, name = (
        "vit_image_classifier",
        "ViTImageClassifier",
        "vi_t_image_classifier",
    )
    _json(folder / TASK, _object(home, kind, name, None, given))
    layers = [layer for layer in _HEAD if f"{layer}/vars/0" in source.tensors]
    heads = (
        (f"{layer}/vars/{leaf}", f"layers/{_numbered('dense', i)}/vars", layer)
        for i, layer in enumerate(layers)
        for leaf in (0, 1)
    )
    _h5(folder / TASK_WEIGHTS, source, heads, name)
    # The library compiles a classifier as it makes it, and wants its optimizer back.
    with h5py.File(folder / TASK_WEIGHTS, "r+") as h5:
        group = h5.create_group("optimizer/vars")
        group.attrs["name"] = "adam"
        group["0"], group["1"] = np.int64(0), np.float32(RATE)


def _object(
    home: str, kind: str, name: str, dtype: str | None, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    policy = {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": {"name": dtype},
        "registered_name": None,
    }
    common = {"name": name}
    if dtype is not None:
        common |= {"trainable": True, "dtype": policy}  # type: ignore[dict-item]
    return {
        "module": f"keras_hub.src.models.vit.{home}",
        "class_name": kind,
        "config": {**common, **arguments},
        "registered_name": f"keras_hub>{kind}",
    }


def _json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=4) + "\n", encoding="utf-8")


def _numbered(name: str, index: int) -> str:
    """Keras' name of the layer that is the `index`-th of its kind."""
    return f"{name}_{index}" if index else name


_NAMES = {
    # layer's attribute: the name that Keras notes
    "vi_t_patching_and_embedding": "vit_patching_and_embedding",
    "layer_norm_1": "ln_1",
    "layer_norm_2": "ln_2",
    "layer_norm": "ln",
    "query_dense": "query",
    "key_dense": "key",
    "value_dense": "value",
    "output_dense": "attention_output",
}


def _backbone_place(name: str) -> tuple[str, str]:
    """Group of a weight in `model.weights.h5`, and the layer's name noted there."""
    place = name.rpartition("/")[0]
    if place.startswith(f"{_BLOCKS}_"):
        number, _, tail = place.removeprefix(f"{_BLOCKS}_").partition("/")
        place = f"{_numbered(_BLOCKS, int(number))}/{tail}"
    layer = place.removesuffix("/vars").rpartition("/")[2]
    return f"layers/{place}", _NAMES.get(layer, layer)


def _h5(
    path: Path, source: Source, places: Iterator[tuple[str, str, str]], model: str
) -> None:
    with h5py.File(path, "w") as h5:
        for name, place, layer in places:
            group = h5.require_group(place)
            group.attrs["name"] = layer
            put(group, name.rpartition("/")[2], np.ascontiguousarray(source.read(name)))
        for group in [item for key, item in _groups(h5) if key.startswith(_BLOCKS)]:
            index = group.name.removeprefix(f"/layers/{_BLOCKS}").removeprefix("_")
            noted = group.require_group("vars")
            noted.attrs["name"] = f"transformer_block_{int(index or 0) + 1}"
        h5.require_group("vars").attrs["name"] = model


def _groups(h5: Any) -> list[tuple[str, Any]]:
    parent = _BLOCKS.rpartition("/")[0]
    if f"layers/{parent}" not in h5:
        return []
    return [(f"{parent}/{key}", item) for key, item in h5[f"layers/{parent}"].items()]
