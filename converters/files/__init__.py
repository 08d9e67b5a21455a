"""Files: one reader protocol, one writer, nothing half done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from converters.errors import refusal
from converters.files.base import FORMATS, Raw, Reader, format_of
from converters.mapping.pipe import Pipe, Source
from converters.mapping.table import KERAS
from vit_config import ViTConfig

if TYPE_CHECKING:
    from converters.files.h5_file import Saved

__all__ = ["FORMATS", "Raw", "Reader", "Source", "format_of", "open_reader", "write"]

FOLDER_WEIGHTS = "model.safetensors"
FOLDER_CONFIG = "config.json"


def open_reader(
    path: Path, config: ViTConfig | None = None, kind: str | None = None
) -> Reader:
    """Opens a file of weights, or a folder that `save_pretrained` made.

    Args:
        path: The file or folder.
        config: Its config, where it does not hold one.
        kind: Its format, where the name does not say it.

    Raises:
        ConversionError: If it is not what its name says.
    """
    if kind is None and path.is_dir() and (path / FOLDER_WEIGHTS).exists():
        own = folder_config(path)
        return open_reader(path / FOLDER_WEIGHTS, config or own)
    if kind is None and path.is_dir() and (path / FOLDER_CONFIG).exists():
        from converters.files.keras_folder import KerasFolderReader, is_keras_folder

        if is_keras_folder(path):
            return KerasFolderReader(path, config)
    if kind is None and not path.name.endswith(tuple(FORMATS)):
        _check_there(path)
    kind = kind or format_of(path, to_read=True)
    if kind == "safetensors":
        from converters.files.safetensors_file import SafetensorsReader

        return SafetensorsReader(path, config)
    if kind == "keras":
        from converters.files.keras_file import KerasReader

        return KerasReader(path, config)
    from converters.files.h5_file import WeightsH5Reader

    return WeightsH5Reader(path, config)


def _check_there(path: Path) -> None:
    """Says what a name without a suffix stands for, before the suffix is asked for."""
    if path.is_dir():
        raise refusal(
            "a folder in which there is no model: no weights with a config beside them",
            file=path,
            hint=f"Expected {FOLDER_WEIGHTS} or its index, and {FOLDER_CONFIG}; or "
            "name the weights.",
        )
    if not path.exists():
        raise refusal("no such file or folder", file=path)


def folder_config(folder: Path) -> ViTConfig | None:
    """The `config.json` of a folder that `save_pretrained` made, if there is one."""
    path = folder / FOLDER_CONFIG
    return ViTConfig.from_json(path.read_bytes()) if path.exists() else None


def write(
    path: Path, kind: str, source: Source, config: ViTConfig, raw: Raw | None = None
) -> Saved:
    """Writes canonical tensors in a format; a new file, not yet proved.

    Args:
        path: A file that nobody reads yet.
        kind: A value of `FORMATS`.
        source: Canonical tensors, served one at a time.
        config: Their config.
        raw: Of a `.keras`: what it takes, if its preprocessing is to be inside.

    Returns:
        The digests that were written beside Keras weights; else none.
    """
    if kind == "safetensors":
        from converters.files.safetensors_file import write_safetensors

        write_safetensors(path, source, config)
        return {}
    twin = Pipe(source, KERAS.plan(config))
    if kind == "keras":
        from converters.files.keras_file import write_keras

        return write_keras(path, twin, config, raw)
    from converters.files.h5_file import write_h5

    return write_h5(path, twin, config)


def space_needed(nbytes: int) -> int:
    """Bytes on the disk that writing takes for a moment."""
    return nbytes + (4 << 20)
