"""Scans for programs that call a model themselves: read as `predict` reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from converters.arguments import check_fields, check_path
from converters.conversion.convert import ConfigLike, load_config
from converters.errors import named, refusal
from converters.inputs.series import is_series
from converters.inputs.volume import SUFFIXES, Volume, read_volume
from converters.runtimes.known import facts_in, kind_of
from converters.sources.door import open_source
from converters.sources.request import Asked
from vit_config import ViTConfig


class HasConfig(Protocol):
    """A twin, a `keras_vit.Pipeline`, a report: what has a config of a model."""

    @property
    def config(self) -> ViTConfig:
        """Of the model."""


@named("scan")
def read_scan(
    path: str | os.PathLike[str],
    config: ConfigLike | HasConfig,
    *,
    changes: Mapping[str, Any] | None = None,
) -> Volume:
    """Reads a scan as a 3D model takes it: turned and resampled as its config says.

    What is left, intensity and size, is done by a model with its preprocessing inside:
    `keras_vit.Pipeline`, `torch_vit.Pipeline`, or a served model's `serve_bytes`.
    `predict` and `embed` read scans by the same code.

    Args:
        path: `.nii`, `.nii.gz` (extra `predict`), `.nrrd`, `.mha`, or a folder with one
            DICOM series (extra `dicom`).
        config: Whose `data` says how scans lie: a config (object, dict or JSON file), a
            model of either twin, an artifact that `export` wrote, or a file or folder
            of weights.
        changes: Fields that stand above the config, `{"data.spacing_mode": "nearest"}`.

    Returns:
        `values`, float32 (*spatial, C), in the scan's units; their `affine`; `notes` of
        what was done; and `instance()`, the scan as a row of a request.

    Raises:
        ConversionError: If the scan cannot be read, has other axes or channels, holds
            NaN or infinite numbers, does not say how it lies, or has another spacing
            and the config does not say how to resample it.
        ConfigError: If the config does not state axes, orientation and spacing.
        MissingExtraError: If the library that reads the scan is not installed.
    """
    check_path("path", path)
    check_fields("changes", changes or {})
    scan = Path(path)
    if not scan.exists():
        raise refusal("no such file", file=scan)
    folder = scan.is_dir()
    if not (is_series(scan) if folder else scan.name.lower().endswith(SUFFIXES)):
        what = "a folder without DICOM files" if folder else "not a file of a scan"
        kinds = ", ".join(SUFFIXES)
        text = f"{what}; expected {kinds}, or a folder of one DICOM series"
        raise refusal(text, file=scan)
    model = _config_of(config)
    model = model.replace(**changes) if changes else model
    if model.spatial_dims != 3:
        size = " x ".join(map(str, model.img_size))
        raise refusal(f"a volume; the model takes inputs of {size}", file=scan)
    return read_volume(scan, model)


def _config_of(source: Any) -> ViTConfig:
    own = getattr(source, "config", None)
    if isinstance(own, ViTConfig):
        return own
    if isinstance(source, ViTConfig | Mapping):
        return ViTConfig.from_dict(source) if isinstance(source, Mapping) else source
    check_path("config", source, "a config, a model of ours, or a file of either")
    path = Path(source)
    if path.suffix.lower() == ".json":
        config = load_config(path)
        if config is not None:
            return config
    if kind := kind_of(path):
        try:
            facts = facts_in(path, kind)
        except (OSError, ValueError) as error:
            raise refusal(f"unreadable: {error}", file=path) from None
        if "config" not in facts:
            raise refusal("was not written by vit-duet export", file=path)
        return ViTConfig.from_dict(facts["config"])
    with open_source(path, Asked()) as reader:
        return reader.config
