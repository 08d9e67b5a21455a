"""Volumes in files to voxels and where they lie: NIfTI, NRRD, MetaImage, DICOM.

Every library has its own order of axes: nibabel gives X, Y, Z in RAS, SimpleITK arrays
of Z, Y, X with directions in LPS. Here all are (X, Y, Z, C) as the file stores them,
with one affine from voxels to millimetres in RAS, as NIfTI has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.errors import ConversionError, printable, refusal
from converters.extras import optional

NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".mha")
MOST_VOXELS = 2**30
"""Of a volume, with its channels: 4 GiB of float32."""

MOST_UNEVEN = 0.01
"""Of the distance between slices: how much one may be out of its place."""

_UNITS = {1: "metres", 3: "micrometres"}  # of NIfTI; 2 is mm, 0 says nothing
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Scan:
    """A volume as its file stores it.

    Attributes:
        values: float32 (X, Y, Z, C).
        affine: (4, 4), from voxels to millimetres in RAS.
        stated: Whether the file says how it lies; if not the affine means nothing.
    """

    values: NDArray[np.float32]
    affine: NDArray[np.float64]
    stated: bool = True


def open_scan(path: Path, channels: int, extra: str = "predict") -> Scan:
    """Reads a volume: a file, or a folder with the slices of one DICOM series.

    Args:
        path: `.nii`, `.nii.gz`, `.nrrd`, `.mha` or a folder.
        channels: Of the model.
        extra: What brings nibabel, for the message where it is missing.

    Raises:
        ConversionError: If it cannot be read, has other axes or channels, or holds NaN
            or infinite numbers.
        MissingExtraError: If the library that reads it is not installed.
    """
    nifti = path.name.lower().endswith(NIFTI) and not path.is_dir()
    # Found before the `try`, whose errors are about the file.
    library = optional(*(("nibabel", extra) if nifti else ("SimpleITK", "dicom")))
    if not nifti:
        library.ProcessObject.SetGlobalWarningDisplay(False)  # they go to stderr
    try:
        if nifti:
            found = _nifti(path, channels, library)
        elif path.is_dir():
            found = _series(path, channels, library)
        else:
            _check_header(path)
            found = _from_itk(library.ReadImage(str(path)), path, channels, library)
    except (ConversionError, MemoryError):
        raise
    except Exception as error:  # whatever a parser makes of hostile bytes
        text = printable(str(error).strip().rpartition("\n")[2], 200)
        raise refusal(f"unreadable: {text}", file=path) from None
    bad = found.values.size - np.count_nonzero(np.isfinite(found.values))
    if bad:
        raise refusal(f"{bad} voxels that are NaN or infinite", file=path)
    if not np.isfinite(found.affine).all():
        raise refusal("its affine has numbers that are not finite", file=path)
    return found


def _nifti(path: Path, channels: int, nibabel: Any) -> Scan:
    image = nibabel.load(path)
    dtype, shape = image.get_data_dtype(), tuple(image.shape)
    if dtype.kind not in "fiu":
        raise refusal(f"voxels of type {dtype}; expected floats or integers", file=path)
    if len(shape) == 5 and shape[3] == 1:  # where NIfTI keeps channels
        shape = (*shape[:3], shape[4])
    shape = _checked(shape, channels, path)
    unit = int(image.header["xyzt_units"]) & 7
    if unit in _UNITS:
        raise refusal(f"its spacing is in {_UNITS[unit]}; expected mm", file=path)
    codes = (int(image.header["sform_code"]), int(image.header["qform_code"]))
    values = np.asarray(image.dataobj, np.float32).reshape(shape)
    return Scan(values, np.asarray(image.affine, np.float64), any(codes))


def _series(path: Path, channels: int, itk: Any) -> Scan:
    """The slices of one DICOM series, in the order of their places."""
    reader = itk.ImageSeriesReader()
    found = reader.GetGDCMSeriesIDs(str(path))
    if len(found) != 1:
        text = f"{len(found)} DICOM series in the folder; expected one"
        hint = "" if not found else "Keep each series in a folder of its own."
        raise refusal(text, file=path, hint=hint)
    names = reader.GetGDCMSeriesFileNames(str(path), found[0])
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    image = reader.Execute()
    places = [reader.GetMetaData(i, "0020|0032") for i in range(len(names))]
    _check_slices([place.split("\\") for place in places], image, path)
    return _from_itk(image, path, channels, itk)


def _check_slices(places: list[list[str]], image: Any, path: Path) -> None:
    """Refuses slices that are no volume, which ITK only warns of."""
    steps = np.diff(np.array(places, np.float64), axis=0)
    if not len(steps):
        return
    normal = np.array(image.GetDirection()).reshape(3, 3)[:, 2]
    along = steps @ normal
    mean = along.mean()
    if np.abs(along - mean).max() > MOST_UNEVEN * abs(mean):
        text = f"its {len(places)} slices are not equally far apart: one is missing?"
        raise refusal(text, file=path)
    if np.abs(steps - np.outer(along, normal)).max() > MOST_UNEVEN * abs(mean):
        text = "its slices are shifted against each other, as by a tilted gantry"
        raise refusal(f"{text}: no right-angled volume", file=path)


def _check_header(path: Path) -> None:
    """Refuses what ITK would fill in, or take from another file.

    Without a direction ITK takes the axes for those of the patient.
    """
    with path.open("rb") as stream:
        head = stream.read(65536).lower()
    if path.name.lower().endswith(".nrrd"):
        head = head.partition(b"\n\n")[0]
        needed, other = (b"\nspace:", b"\nspace directions:"), b"\ndata file:"
        elsewhere = other in head or b"\ndatafile:" in head
    else:
        needed, other = (b"transformmatrix", b"elementspacing"), b"elementdatafile"
        rest = head.partition(other)[2].partition(b"\n")[0]
        elsewhere = rest.strip(b" =\r") != b"local"
    if elsewhere:
        raise refusal("its voxels are in another file; expected one file", file=path)
    missing = [key.decode().strip(": \n") for key in needed if key not in head]
    if missing:
        text = f"its header does not say how it lies: no {' and no '.join(missing)}"
        raise refusal(text, file=path)


def _from_itk(image: Any, path: Path, channels: int, itk: Any) -> Scan:
    if "complex" in image.GetPixelIDTypeAsString():
        raise refusal("complex voxels; expected floats or integers", file=path)
    count = image.GetNumberOfComponentsPerPixel()
    shape = (*image.GetSize(), count) if count > 1 else tuple(image.GetSize())
    shape = _checked(shape, channels, path)
    array = itk.GetArrayFromImage(image)
    array = array if count > 1 else array[..., None]
    values = np.ascontiguousarray(array.transpose(2, 1, 0, 3), np.float32)
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = direction @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return Scan(values.reshape(shape), _TO_RAS @ affine)


def _checked(shape: tuple[int, ...], channels: int, path: Path) -> tuple[int, ...]:
    """(X, Y, Z, C) of what a file holds.

    Raises:
        ConversionError: If it has other axes or channels, or too many voxels.
    """
    full = shape if len(shape) == 4 else (*shape, 1)
    if len(full) != 4 or 0 in full:
        wanted = "3 axes" if channels == 1 else f"3 axes and {channels} channels"
        raise refusal(f"a volume {shape}; expected {wanted}", file=path)
    if full[3] != channels:
        text = f"a volume {shape}: {full[3]} channels, or volumes of a series; "
        raise refusal(f"{text}the model takes {channels}", file=path)
    if math.prod(full) > MOST_VOXELS:
        raise refusal(f"a volume {shape}: too large", file=path)
    return full
