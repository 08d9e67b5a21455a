"""NIfTI volumes as inputs of a 3D model, by nibabel.

As they are: scaled by their own header and turned, without resampling, to the
orientation that the config states. A volume of another size is refused.
"""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.errors import ConversionError, printable, refusal
from converters.extras import optional
from vit_config import ViTConfig

SUFFIXES = (".nii", ".nii.gz")
CODES = ("LR", "PA", "IS")


def read_volume(
    path: Path, config: ViTConfig
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """One volume as the model takes it.

    Args:
        path: A `.nii` or `.nii.gz`; (*spatial), or (*spatial, C).
        config: Of the model.

    Returns:
        (C, *spatial), and what was done, or not done, that the user may not expect.

    Raises:
        ConversionError: If it cannot be read, or has another size.
        MissingExtraError: If nibabel is not installed.
    """
    nibabel = optional("nibabel", "verify")
    notes: list[str] = []
    try:
        image = nibabel.load(path)
        image = _turned(image, config, nibabel, notes)
        _check_content(image, path, config)
        values = np.asarray(image.dataobj, np.float32)
    except (ConversionError, MemoryError):
        raise
    except Exception as error:  # whatever a parser makes of hostile bytes
        raise refusal(f"unreadable: {printable(error, 200)}", file=path) from None
    _note_preprocessing(image, config, notes)
    channels = values.reshape(*config.img_size, config.in_chans)
    return np.ascontiguousarray(np.moveaxis(channels, -1, 0)), tuple(notes)


def _turned(image: Any, config: ViTConfig, nibabel: Any, notes: list[str]) -> Any:
    """The volume in the config's orientation: axes exchanged and flipped, exactly."""
    wanted = config.data and config.data.orientation
    if not wanted:
        return image
    if len(wanted) != 3 or any(len(set(pair) & set(wanted)) != 1 for pair in CODES):
        raise refusal(
            f"data.orientation {wanted!r}: expected a letter of each of "
            f"{', '.join(CODES)}",
            kind="config",
        )
    if not (image.header["sform_code"] or image.header["qform_code"]):
        notes.append(f"its header does not say how it lies; taken as {wanted}")
        return image
    orientations = nibabel.orientations
    there = orientations.io_orientation(image.affine)
    if np.isnan(there).any():
        raise ValueError("its affine leaves an axis without direction")
    found = "".join(orientations.ornt2axcodes(there))
    if found == wanted:
        return image
    here = orientations.axcodes2ornt(tuple(wanted))
    notes.append(f"turned from {found} to {wanted}")
    return image.as_reoriented(orientations.ornt_transform(there, here))


def _check_content(image: Any, path: Path, config: ViTConfig) -> None:
    dtype, shape = image.get_data_dtype(), tuple(image.shape)
    if dtype.kind not in "fiu":
        raise refusal(f"voxels of type {dtype}; expected floats or integers", file=path)
    size, channels = config.img_size, config.in_chans
    # A volume of one channel may or may not have an axis for it.
    trimmed = shape[:-1] if len(shape) == len(size) + 1 and shape[-1] == 1 else shape
    expected = size if channels == 1 else (*size, channels)
    if trimmed == expected:
        return
    text = f"a volume {shape}; expected {expected}"
    if trimmed in set(permutations(expected)):
        text += ": the axes are in another order"
    raise refusal(
        text,
        file=path,
        hint="Volumes are not resampled: do that first, or pass a .npy.",
    )


def _note_preprocessing(image: Any, config: ViTConfig, notes: list[str]) -> None:
    """Says what the config asks for and nobody did."""
    data = config.data
    if data is None:
        return
    if data.spacing_mm:
        zooms = tuple(float(zoom) for zoom in image.header.get_zooms()[:3])
        pairs = zip(zooms, data.spacing_mm, strict=True)
        if not all(math.isclose(a, b, rel_tol=1e-3) for a, b in pairs):
            found = " x ".join(f"{zoom:g}" for zoom in zooms)
            wanted = " x ".join(f"{zoom:g}" for zoom in data.spacing_mm)
            notes.append(f"voxels of {found} mm, the config says {wanted} mm")
    stated = [name for name in ("intensity", "mean", "std") if getattr(data, name)]
    if stated:
        notes.append(f"the config's {', '.join(stated)} not applied")
