"""Files of scans: what MONAI reads, the same by every library, and what is refused."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from converters import ConversionError
from converters.extras import MissingExtraError
from converters.inputs import scan as scans
from converters.inputs.prepare_volume import prepare_volume
from converters.inputs.volume import read_volume
from tests.preprocess.volume_cases import AFFINES, CASES, FILES, scan
from tests.preprocess.volume_common import (
    config,
    config_of,
    difference,
    file_config,
    goldens,
)
from vit_config import ConfigError
from vit_config.preprocess_volume import make_volume_plan

nibabel = pytest.importorskip("nibabel")


def nifti(path: Path, values, affine) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def of_case(case, folder: Path) -> Path:
    return nifti(folder / "scan.nii.gz", case.values, AFFINES[case.affine])


@pytest.mark.parametrize("name", FILES)
def test_files_are_read_as_monai_reads_them(name, tmp_path):
    case = FILES[name]
    made = read_volume(of_case(case, tmp_path), file_config(case))
    theirs = goldens()[1][name]
    assert made.values.shape == theirs.shape and made.values.dtype == np.float32
    assert np.abs(made.values - theirs).max() < 1e-6 * np.abs(theirs).max()
    if case.mode != "bilinear":
        assert np.array_equal(made.values, theirs)


@pytest.mark.parametrize("name", CASES)
def test_numpy_prepares_as_monai_does(name):
    case = CASES[name]
    made = prepare_volume(case.values, make_volume_plan(config_of(case)))
    assert made.dtype == np.float32 and made.flags.c_contiguous
    assert difference(case, np.moveaxis(made, 0, -1)[None]) < 1e-6


# ---- other libraries --------------------------------------------------------------


def dicom_series(image, folder: Path, tilt: float = 0.0) -> Path:
    """Slices as a scanner writes them, in an order that is not that of their names."""
    itk = pytest.importorskip("SimpleITK")
    folder.mkdir()
    writer = itk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction, depth = image.GetDirection(), image.GetDepth()
    row = [direction[i] for i in (0, 3, 6, 1, 4, 7)]
    for z in range(depth):
        one = itk.Cast(image[:, :, z], itk.sitkInt16)
        place = list(image.TransformIndexToPhysicalPoint((0, 0, z)))
        place[1] += tilt * z
        tags = {
            "0008|0060": "CT",
            "0008|0031": "120000",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.2",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.3.{z + 1}",
            "0020|0037": "\\".join(f"{value:.12g}" for value in row),
            "0020|0032": "\\".join(f"{value:.12g}" for value in place),
            "0020|0013": str(z + 1),
            "0018|0050": f"{image.GetSpacing()[2]:.12g}",
            "0028|1053": "1",
            "0028|1052": "0",
        }
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{(z * 3) % depth}.dcm"))
        writer.Execute(one)
    return folder


def other_files(path: Path, folder: Path) -> dict[str, Path]:
    """The same scan as SimpleITK writes it."""
    itk = pytest.importorskip("SimpleITK")
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    image = itk.ReadImage(str(path))
    found = {}
    for kind in ("nrrd", "mha"):
        found[kind] = folder / f"scan.{kind}"
        clean = itk.Image(image)
        for key in clean.GetMetaDataKeys():
            clean.EraseMetaData(key)
        itk.WriteImage(clean, str(found[kind]))
    if image.GetNumberOfComponentsPerPixel() == 1:
        found["dicom"] = dicom_series(image, folder / "series")
    return found


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize("orientation", ["RAS", "SPL"])
def test_a_scan_is_the_same_by_every_library(affine, orientation, tmp_path):
    values = scan(9, 7, 5, 1)[..., 0].astype(np.int16)
    path = nifti(tmp_path / "scan.nii.gz", values, AFFINES[affine])
    axes = {"RAS": ("X", "Y", "Z"), "SPL": ("Z", "Y", "X")}[orientation]
    data = {"axes": axes, "orientation": orientation, "spacing_mm": (1.0, 1.3, 1.9)}
    turned = config(in_chans=1, **{**data, "spacing_mm": None, "spacing_mode": "keep"})
    spaced = config(in_chans=1, **data, spacing_mode="bilinear")
    first, second = (read_volume(path, c).values for c in (turned, spaced))
    assert first.shape != second.shape
    for kind, other in other_files(path, tmp_path).items():
        assert np.array_equal(read_volume(other, turned).values, first), kind
        found = read_volume(other, spaced).values
        # Their headers round the directions.
        assert np.abs(found - second).max() < 1e-4 * np.abs(second).max(), kind


def test_nifti_by_simpleitk_is_the_same_array(tmp_path):
    itk = pytest.importorskip("SimpleITK")
    values = scan(9, 7, 5, 1).astype(np.int16)
    for affine in AFFINES.values():
        path = nifti(tmp_path / "a.nii", values[..., 0], affine)
        ours = scans.open_scan(path, 1)
        theirs = scans._from_itk(itk.ReadImage(str(path)), path, 1, itk)
        assert np.array_equal(ours.values, values.astype(np.float32))
        assert np.array_equal(ours.values, theirs.values)
        assert np.abs(ours.affine - theirs.affine).max() < 1e-5


def test_channels_are_last_whatever_the_library(tmp_path):
    itk = pytest.importorskip("SimpleITK")
    values = scan(9, 7, 5, 2).astype(np.int16)
    one = nifti(tmp_path / "a.nii", values, np.diag([-1.0, -1.0, 1.0, 1.0]))
    other = nifti(tmp_path / "b.nii", values[:, :, :, None], np.diag([-1, -1, 1, 1.0]))
    image = itk.GetImageFromArray(values.transpose(2, 1, 0, 3), isVector=True)
    itk.WriteImage(image, str(tmp_path / "c.nrrd"))
    itk.WriteImage(image, str(tmp_path / "d.mha"))
    c = config(orientation="LPS", **PLAIN)
    for path in (one, other, tmp_path / "c.nrrd", tmp_path / "d.mha"):
        assert np.array_equal(read_volume(path, c).values, values), path.name


def test_all_orientations_are_the_scan_turned(tmp_path):
    """48 ways to lie, all told apart: values stay with the place they are at."""
    values = scan(4, 3, 2, 1)[..., 0]
    path = nifti(tmp_path / "a.nii", values, np.diag([2.0, 3.0, 5.0, 1.0]))
    seen = set()
    for order in permutations(range(3)):
        for flips in product((1, -1), repeat=3):
            ends = [
                ("LR", "PA", "IS")[i][flip > 0]
                for i, flip in zip(order, flips, strict=True)
            ]
            code = "".join(ends)
            c = config(
                in_chans=1,
                orientation=code,
                axes=tuple("XYZ"[i] for i in order),
                spacing_mm=tuple((2.0, 3.0, 5.0)[i] for i in order),
            )
            made = read_volume(path, c).values
            expected = values.transpose(order)
            expected = expected[:: flips[0], :: flips[1], :: flips[2], None]
            assert np.array_equal(made, expected), code
            seen.add(made.tobytes() + str(made.shape).encode())
    assert len(seen) == 48


def test_what_was_done_is_said(tmp_path):
    case = FILES["permuted RAS 1.0x1.0x1.5 bilinear 1"]
    notes = read_volume(of_case(case, tmp_path), file_config(case)).notes
    assert notes[0] == "turned from AIL to RAS"
    assert "resampled from" in notes[1] and "1 x 1 x 1.5 mm" in notes[1]


# ---- refusals ---------------------------------------------------------------------

PLAIN = {"spacing_mm": None, "spacing_mode": "keep"}
VALUES = scan(9, 7, 5, 1)[..., 0]


def refused(path: Path, **changes) -> str:
    with pytest.raises(ConversionError) as error:
        read_volume(path, config(**{"in_chans": 1, **PLAIN, **changes}))
    return str(error.value)


@pytest.mark.parametrize("name", ["axes", "orientation", "spacing_mm"])
def test_a_config_that_does_not_say_how_scans_lie_is_refused(name, tmp_path):
    path = nifti(tmp_path / "a.nii", VALUES, np.eye(4))
    with pytest.raises(ConfigError) as error:
        read_volume(path, config(in_chans=1, **{name: None}))
    (line,) = error.value.problems
    assert line.startswith(f"data.{name}: not stated") and f"data.{name}=" in line


def test_clips_are_refused(tmp_path):
    path = nifti(tmp_path / "a.nii", VALUES, np.eye(4))
    with pytest.raises(ConfigError, match="only volumes, X, Y and Z"):
        read_volume(path, config(in_chans=1, orientation=None, axes=("T", "H", "W")))


def test_another_spacing_is_refused_unless_resampling_is_stated(tmp_path):
    path = nifti(tmp_path / "a.nii", VALUES, np.diag([1.0, 1.5, 2.5, 1.0]))
    text = refused(path, spacing_mm=(1.0, 1.5, 2.0), spacing_mode=None)
    assert "voxels of 1 x 1.5 x 2.5 mm" in text and "1 x 1.5 x 2" in text
    assert '{"data.spacing_mode": "bilinear"}' in text
    near = {"spacing_mm": (1.0, 1.5, 2.5009), "spacing_mode": None}
    assert read_volume(path, config(in_chans=1, **near)).values.shape == (9, 7, 5, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_refused(value, tmp_path):
    values = VALUES.copy()
    values[3, 2, 1] = value
    text = refused(nifti(tmp_path / "a.nii", values, np.eye(4)))
    assert "1 voxels that are NaN or infinite" in text


@pytest.mark.parametrize(
    ("shape", "channels", "says"),
    [
        ((9, 7, 5, 4), 1, "4 channels, or volumes of a series; the model takes 1"),
        ((9, 7, 5), 2, "1 channels, or volumes of a series; the model takes 2"),
        ((9, 7), 1, "expected 3 axes"),
        ((9, 7, 5, 2, 3), 1, "expected 3 axes"),
    ],
)
def test_other_axes_and_channels_are_refused(shape, channels, says, tmp_path):
    path = nifti(tmp_path / "a.nii", np.zeros(shape, np.float32), np.eye(4))
    assert says in refused(path, in_chans=channels)


def test_a_header_that_says_nothing_is_refused(tmp_path):
    path = nifti(tmp_path / "a.nii", VALUES, None)
    assert "sform_code and qform_code are 0" in refused(path)


def test_an_axis_without_spacing_is_refused(tmp_path):
    image = nibabel.Nifti1Image(VALUES, np.eye(4))
    image.header["srow_y"] = 0
    nibabel.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[296:312] = bytes(16)  # srow_y, which nibabel would have written anew
    (tmp_path / "a.nii").write_bytes(raw)
    assert "no spacing for an axis" in refused(tmp_path / "a.nii")


def test_metres_are_refused(tmp_path):
    image = nibabel.Nifti1Image(VALUES, np.eye(4))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "a.nii")
    assert "spacing is in metres" in refused(tmp_path / "a.nii")


def test_a_sheared_scan_is_turned_but_not_resampled(tmp_path):
    affine = np.eye(4)
    affine[0, 2] = 0.1
    path = nifti(tmp_path / "a.nii", VALUES, affine)
    made = read_volume(path, config(in_chans=1, orientation="LAS", **PLAIN)).values
    assert np.array_equal(made[..., 0], VALUES[::-1])
    spaced = {"spacing_mm": (2.0, 2.0, 2.0), "spacing_mode": "bilinear"}
    assert "a sheared scan" in refused(path, **spaced)


def test_complex_voxels_are_refused(tmp_path):
    path = nifti(tmp_path / "a.nii", VALUES.astype(np.complex64), np.eye(4))
    assert "complex64" in refused(path)


def test_what_cannot_be_read_is_refused(tmp_path):
    whole = nifti(tmp_path / "a.nii.gz", VALUES, np.eye(4)).read_bytes()
    for name, data in (
        ("a.nii", b""),
        ("b.nii.gz", whole[:-40]),
        ("c.nii", b"x" * 999),
    ):
        (tmp_path / name).write_bytes(data)
        assert "unreadable" in refused(tmp_path / name)
    assert "unreadable" in refused(tmp_path / "nowhere.nii")


def test_what_itk_would_guess_is_refused(tmp_path):
    pytest.importorskip("SimpleITK")
    head = b"NRRD0004\ntype: float\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"
    lies = (
        b"space: left-posterior-superior\n"
        b"space directions: (1,0,0) (0,1,0) (0,0,1)\nendian: little\n"
    )
    path, voxels = tmp_path / "a.nrrd", np.arange(8, dtype="<f4").tobytes()
    path.write_bytes(head + b"endian: little\n\n" + voxels)
    assert "no space and no space directions" in refused(path)
    path.write_bytes(head + lies + b"data file: /etc/passwd\n\n")
    assert "in another file" in refused(path)
    path.write_bytes(head + lies + b"\n" + voxels)
    c = config(in_chans=1, orientation="LPS", **PLAIN)
    made = read_volume(path, c).values
    assert np.array_equal(made.transpose(2, 1, 0, 3).ravel(), np.arange(8))
    path = tmp_path / "a.mha"
    head = b"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_FLOAT\n"
    path.write_bytes(head + b"ElementDataFile = LOCAL\n" + voxels)
    assert "no transformmatrix and no elementspacing" in refused(path)
    path.write_bytes(head + b"ElementDataFile = other.raw\n")
    assert "in another file" in refused(path)


def test_a_folder_has_to_be_one_series(tmp_path):
    pytest.importorskip("SimpleITK")
    assert "0 DICOM series" in refused(tmp_path)
    path = nifti(tmp_path / "scan.nii.gz", VALUES.astype(np.int16), AFFINES["flipped"])
    series = other_files(path, tmp_path)["dicom"]
    (series / "1.dcm").unlink()  # the third
    assert "not equally far apart" in refused(series)


def test_slices_that_a_tilted_gantry_shifts_are_refused(tmp_path):
    itk = pytest.importorskip("SimpleITK")
    image = itk.GetImageFromArray(scan(5, 7, 9, 1)[..., 0].astype(np.int16))
    series = dicom_series(image, tmp_path / "series", tilt=0.3)
    assert "a tilted gantry" in refused(series)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    path = tmp_path / "a.nrrd"
    path.write_bytes(b"NRRD0004\n")
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    with pytest.raises(MissingExtraError, match=r"vit-duet\[dicom\]"):
        read_volume(path, config(in_chans=1, **PLAIN))
