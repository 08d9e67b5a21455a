"""Scans to volumes as the config's `data` says they lie: turned, and resampled.

`torch_vit.Preprocess`, `keras_vit.Preprocess` and `prepare_volume` do the rest.

**Turning** exchanges and flips axes, exactly, as MONAI's `Orientation`.

**Resampling** is that of MONAI's `Spacing` (1.6.1), along the scan's own axes: `n`
voxels become `round((n - 1) old / new + 1)`; what lies beyond the outermost voxels is
these. A spacing within 0.001 mm of that of the config is left as it is. In float64, as
MONAI does: the results agree within the rounding of float32, `"nearest"` but for points
in the middle of two voxels. A sheared scan is refused; MONAI takes the shear out of its
affine.

The first voxel stays where it is, if the scan lies straight. Of an oblique one the
middle (n / 2) does: so MONAI treats what has an affine in float32 (NIfTI's sform),
whose rounding it takes for a shear. An oblique scan whose affine is exact (DICOM, NRRD,
NIfTI with a qform only) keeps its first voxel in MONAI, which is up to half a voxel of
the new spacing away. Here a scan is the same from every file.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.errors import refusal
from converters.extras import optional
from converters.inputs.scan import ITK, NIFTI, Scan, open_scan
from converters.wording import options
from vit_config import ConfigError, DataConfig, ViTConfig
from vit_config.preprocess import WHAT
from vit_config.preprocess_volume import axes_problems

SUFFIXES = (*NIFTI, *ITK)
NEAR_MM = 1e-3
"""A spacing that differs by no more is the same (`AFFINE_TOL` of MONAI)."""

STRAIGHT = 1e-6
"""Cosine between an axis and another axis of the patient that counts as 0."""

MOST_SHEAR = 1e-4
"""Cosine between two axes: a voxel in 10,000."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A scan that lies as the model takes it, of any size.

    Attributes:
        values: float32 (*spatial, C), in the scan's units.
        affine: (4, 4), from voxels of `values` to millimetres in RAS, as in NIfTI.
        notes: What was done that the user may not expect.
    """

    values: NDArray[np.float32]
    affine: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Millimetres from voxel to voxel along each axis."""
        return _spacing(self.affine)

    def instance(self) -> dict[str, Any]:
        """One row of a call of `serve_bytes`, as JSON types.

        `{"signature_name": "serve_bytes", "instances": [volume.instance()]}` is the
        body of a request to a served model.
        """
        raw = np.ascontiguousarray(self.values, "<f4").tobytes()
        return {
            "volume_bytes": {"b64": base64.b64encode(raw).decode()},
            "dtype": "float32",
            "shape": list(self.values.shape),
        }


def read_volume(path: Path, config: ViTConfig, extra: str = "predict") -> Volume:
    """Reads one volume, its axes, orientation and spacing those of the config.

    Args:
        path: `.nii`, `.nii.gz`, `.nrrd`, `.mha`, or a folder with one DICOM series.
        config: Of the model.
        extra: What brings nibabel, for the message where it is missing.

    Raises:
        ConversionError: If it cannot be read, has other axes or channels, holds NaN or
            infinite numbers, does not say how it lies, or has another spacing and the
            config does not say how to resample it.
        ConfigError: If the config does not state axes, orientation and spacing.
        MissingExtraError: If the library that reads it is not installed.
    """
    data = config.data or DataConfig()
    if problems := axes_problems(data):
        raise ConfigError(problems, WHAT)
    found = open_scan(path, config.in_chans, extra)
    if not found.stated:
        raise refusal(
            "its header does not say how it lies: sform_code and qform_code are 0",
            file=path,
            hint="Write the orientation into it, if it is known.",
        )
    turned, notes = turn(found, str(data.orientation), path, extra)
    spaced, more = _spaced(turned, data, path)
    values = np.ascontiguousarray(spaced.values, np.float32)
    return Volume(values, spaced.affine, (*notes, *more))


def turn(
    scan: Scan, orientation: str, path: Path, extra: str = "predict"
) -> tuple[Scan, list[str]]:
    """Exchanges and flips axes.

    Args:
        scan: A scan that says how it lies.
        orientation: The code that its axes shall have.
        path: Of the file, for messages.
        extra: What brings nibabel.

    Returns:
        The scan so turned, and what was done.

    Raises:
        ConversionError: If its affine leaves an axis without direction.
        MissingExtraError: If nibabel is not installed.
    """
    tools = optional("nibabel.orientations", extra)
    there = tools.io_orientation(scan.affine)
    if np.isnan(there).any():
        text = "its header states no spacing for an axis, or two axes that are one"
        raise refusal(text, file=path)
    found = "".join(tools.ornt2axcodes(there))
    if found == orientation:
        return scan, []
    step = tools.ornt_transform(there, tools.axcodes2ornt(tuple(orientation)))
    values = tools.apply_orientation(scan.values, step)
    affine = scan.affine @ tools.inv_ornt_aff(step, scan.values.shape[:3])
    return Scan(values, affine), [f"turned from {found} to {orientation}"]


def spacing_of(scan: Scan) -> tuple[float, ...]:
    """Millimetres from voxel to voxel along each axis."""
    return _spacing(scan.affine)


def _spacing(affine: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.linalg.norm(affine[:3, :3], axis=0).tolist())


def _spaced(scan: Scan, data: DataConfig, path: Path) -> tuple[Scan, list[str]]:
    """The scan with the config's spacing, and what was done."""
    wanted, there = data.spacing_mm, spacing_of(scan)
    if wanted is None or data.spacing_mode == "keep":
        return scan, []
    near = [abs(a - b) <= NEAR_MM for a, b in zip(there, wanted, strict=True)]
    if all(near):
        return scan, []
    found, asked = (" x ".join(f"{mm:g}" for mm in size) for size in (there, wanted))
    if data.spacing_mode is None:
        raise refusal(
            f"voxels of {found} mm; data.spacing_mm is {asked}, and data.spacing_mode "
            "does not say how to resample",
            file=path,
            hint=f"State it: {options(changes={'data.spacing_mode': 'bilinear'})} (or "
            "nearest), or data.spacing_mode=keep without a spacing_mm.",
        )
    axes = scan.affine[:3, :3] / np.array(there)
    shear = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if shear > MOST_SHEAR:
        raise refusal(
            f"a sheared scan, its axes off a right angle by a cosine of {shear:.2g}: "
            "not resampled here",
            file=path,
        )
    oblique = bool((np.sort(np.abs(axes), axis=0)[:2] > STRAIGHT).any())
    values: NDArray[Any] = scan.values.astype(np.float64)
    placed = np.eye(4)  # from new voxels to the old ones
    for axis, (old, new) in enumerate(zip(there, wanted, strict=True)):
        if near[axis]:
            continue
        step, last = new / old, values.shape[axis] - 1
        count = round(last / step + 1)
        start = (last + 1 - count * step) / 2 if oblique else 0.0
        placed[axis, axis], placed[axis, 3] = step, start
        places = np.clip(start + np.arange(count) * step, 0, last)
        values = _taken(values, axis, places, data.spacing_mode)
    done = Scan(values.astype(np.float32), scan.affine @ placed)
    return done, [f"resampled from {found} mm to {asked} mm"]


def _taken(
    values: NDArray[np.float64], axis: int, places: NDArray[np.float64], mode: str
) -> NDArray[np.float64]:
    """The values at places along one axis, in voxels, none beyond its ends."""
    if mode == "nearest":
        return values.take(np.rint(places).astype(int), axis)
    last = values.shape[axis] - 1
    lower = np.floor(places).astype(int)
    part = (places - lower).reshape([-1 if i == axis else 1 for i in range(4)])
    below = values.take(lower, axis)
    above = values.take(np.minimum(lower + 1, last), axis)
    made: NDArray[np.float64] = below + (above - below) * part
    return made
