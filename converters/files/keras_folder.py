"""The unzipped `.keras`: the same three files in a folder, which Keras loads as well.

Keras 3.15 writes one with `model.save(folder, zipped=False)` and loads it with
`keras.models.load_model(folder)`.
"""

from __future__ import annotations

import json
from pathlib import Path

from converters.errors import refusal
from converters.files.base import Raw, check_input, merge_configs
from converters.files.h5_file import Saved, WeightsH5Reader, write_h5
from converters.files.keras_file import (
    KERAS_VERSION,
    MAX_JSON,
    MEMBERS,
    keras_config,
    model_of,
    version_remarks,
)
from converters.mapping.pipe import Source
from converters.version import producer
from vit_config import ViTConfig

METADATA, CONFIG, WEIGHTS = MEMBERS


def is_keras_folder(path: Path) -> bool:
    """Whether all three files are there."""
    return path.is_dir() and all((path / name).is_file() for name in MEMBERS)


class KerasFolderReader(WeightsH5Reader):
    """Reads an unzipped `.keras` that holds one `keras_vit.ViT`, or a `Pipeline`.

    Args:
        path: The folder.
        config: Must agree with the folder's own, if it is given.

    Raises:
        ConversionError: If it is not such a folder.
    """

    format = "keras folder"

    def __init__(self, path: Path, config: ViTConfig | None = None) -> None:
        text = path / CONFIG
        if text.stat().st_size > MAX_JSON:
            raise refusal("larger than any config is", file=text)
        own, raw = model_of(text.read_bytes(), path)
        self.own_config = own
        self.remarks = version_remarks(path / METADATA)
        check_input(path / WEIGHTS, "weights.h5")
        super().__init__(path / WEIGHTS, merge_configs(path, own, config), raw=raw)


def write_keras_folder(
    folder: Path, source: Source, config: ViTConfig, raw: Raw | None = None
) -> Saved:
    """Writes a folder that `keras.models.load_model` loads in one line.

    Args:
        folder: An empty folder.
        source: Tensors of the Keras twin, served one at a time.
        config: Their config.
        raw: What a `keras_vit.Pipeline` takes that is to be around the model.

    Returns:
        The digests that were written beside the weights.
    """
    dtype = next(iter(source.tensors.values())).dtype
    metadata = {"keras_version": KERAS_VERSION, "producer": producer()}
    model = keras_config(config, dtype, raw)
    for name, value in ((METADATA, metadata), (CONFIG, model)):
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    return write_h5(folder / WEIGHTS, source, config, raw)
