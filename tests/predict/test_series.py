"""Folders of DICOM slices as inputs of `predict`, `embed` and `verify`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess

import numpy as np
import pytest
from typer.testing import CliRunner

import converters
from converters import ConversionError
from converters.cli.app import app
from converters.conversion.convert import read_checked
from converters.inputs.files import find_entries
from converters.inputs.series import digest, is_series
from converters.inputs.user_inputs import find_inputs, read_inputs
from converters.parity.case_list import chunks, read_cases
from converters.parity.decisions import decision_rule
from converters.parity.record import ParityReport
from tests.predict.common import apart, saved, tiny
from tests.predict.test_embed import index_of, rows_of
from tests.preprocess.volume_cases import AFFINES, scan
from tests.preprocess.volume_common import config

DICOM = b"\0" * 128 + b"DICM" + b"more"


def test_slices_are_known_by_their_bytes(tmp_path):
    for name in ("IM0001", "1.2.840.113619.2", "a.DCM", "b.ima"):
        (folder := tmp_path / name.replace(".", "_")).mkdir()
        assert not is_series(folder)
        (folder / name).write_bytes(DICOM)
        assert is_series(folder), name
        (folder / name).write_bytes(b"\0" + DICOM)
        assert not is_series(folder), name
    for name in ("DICOMDIR", "a.txt", "a.png"):
        (folder := tmp_path / f"no {name}").mkdir()
        (folder / name).write_bytes(DICOM)
        assert not is_series(folder), name


def test_a_series_is_one_input_wherever_it_lies(tmp_path):
    for place in ("a/b/series", "other"):
        (folder := tmp_path / place).mkdir(parents=True)
        for index in range(3):
            (folder / f"{index}.dcm").write_bytes(DICOM)
    (tmp_path / "a" / "x.nii").touch()
    (tmp_path / "readme.txt").touch()

    def names(*named: object) -> list[str]:
        found = find_entries([str(one) for one in named])
        assert all(entry.path.exists() for entry in found)
        return [os.path.relpath(entry.name, tmp_path) for entry in found]

    assert names(tmp_path) == ["a/b/series", "a/x.nii", "other"]
    assert names(tmp_path / "other") == ["other"]
    assert names(tmp_path / "*") == ["other"]
    assert names(tmp_path / "**") == ["a/b/series", "a/x.nii", "other"]


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum")
def test_its_digest_is_that_of_what_sha256sum_prints(tmp_path):
    for index, name in enumerate(("b", "B", "a2", "a10")):
        (tmp_path / name).write_bytes(DICOM + bytes([index]))
    told = subprocess.run(
        "LC_ALL=C sha256sum *",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert digest(tmp_path) == hashlib.sha256(told.stdout).hexdigest()


@pytest.fixture
def series(tmp_path):
    """A model, and a folder with one scan as NIfTI and as DICOM."""
    pytest.importorskip("SimpleITK")
    pytest.importorskip("torch")
    volume_files = pytest.importorskip("tests.preprocess.test_volume_files")
    values = scan(9, 7, 5, 1)[..., 0].astype(np.int16)
    (folder := tmp_path / "in").mkdir()
    path = volume_files.nifti(folder / "scan.nii.gz", values, AFFINES["oblique"])
    other = volume_files.other_files(path, tmp_path)
    shutil.move(other["dicom"], folder / "series")
    c = config(in_chans=1, spacing_mm=None, spacing_mode="keep")
    return saved(tmp_path, c.replace(problem_type="single_label")), folder


def test_it_is_predicted_and_embedded_as_the_same_scan_in_one_file(series, tmp_path):
    model, folder = series
    found = converters.predict(model, folder)
    assert [item.file for item in found.items] == [
        str(folder / name) for name in ("scan.nii.gz", "series")
    ]
    one, other = found.items
    assert found.ok and np.array_equal(one.outputs, other.outputs)
    (named,) = converters.predict(model, folder / "series").items
    assert apart(named.outputs, one.outputs) < 1e-5
    out = tmp_path / "out"
    report = converters.embed(model, folder, out)
    assert (report.files, report.rows) == (2, 2)
    rows = rows_of(out)
    assert apart(rows["series"], rows["scan.nii.gz"]) < 1e-5
    assert np.ptp(rows["series"]) > 0
    assert index_of(out)[1]["sha256"] == digest(folder / "series")
    alone = converters.embed(model, folder / "series", tmp_path / "alone")
    assert alone.rows == 1
    assert apart(rows_of(tmp_path / "alone")["."], rows["series"]) < 1e-5
    assert converters.embed(model, folder, out).resumed == 2
    os.utime(folder / "series" / "3.dcm", ns=(1, 2**62))
    with pytest.raises(ConversionError, match="series  changed since"):
        converters.embed(model, folder, out)


def test_verification_takes_it_as_the_same_scan(series, tmp_path):
    model, folder = series
    (tmp_path / "in" / "notes.txt").touch()
    (tmp_path / "in" / "empty").mkdir()
    found = find_inputs([folder])
    assert [path.name for path in found.files] == ["scan.nii.gz", "series"]
    assert found.skipped == ("empty", "notes.txt")
    assert find_inputs([folder / "series"]).files == (folder / "series",)
    with read_checked(model) as read:
        stated = read.config
    (one,), (other,) = (list(read_inputs(path, stated)) for path in found.files)
    assert np.array_equal(one.values, other.values) and np.ptp(one.values) > 0
    assert other.case == digest(folder / "series") != one.case
    cases = tmp_path / "cases.csv"
    cases.write_text("path\nin/series\nin/scan.nii.gz\nin/empty\n")
    rule = decision_rule(stated, None)
    with pytest.raises(ConversionError, match="line 4") as error:
        read_cases(cases, stated, rule)
    assert "empty: not a file" in str(error.value) and "line 2" not in str(error.value)
    cases.write_text("path\nin/series\nin/scan.nii.gz\n")
    (chunk,) = chunks(read_cases(cases, stated, rule), stated)
    assert np.array_equal(chunk.values[0], chunk.values[1])
    flat = tiny(data=None)
    with pytest.raises(ConversionError, match="a volume; the model takes inputs of 12"):
        list(read_inputs(folder / "series", flat))
    (folder / "series" / "3.dcm").unlink()
    with pytest.raises(ConversionError, match="equally far apart"):
        list(read_inputs(folder / "series", stated))


@pytest.mark.slow
def test_a_verification_is_run_on_it(series):
    model, folder = series
    words = ["verify", model, model, "--input", folder / "series", "--json", "-"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    found = ParityReport.from_json(done.output)
    own = [check for check in found.checks if check.inputs == "own"]
    assert {check.count for check in own} == {1}


def test_a_series_that_is_no_volume_is_listed(series):
    model, folder = series
    (folder / "series" / "3.dcm").unlink()
    found = converters.predict(model, folder)
    assert [item.file for item in found.items] == [str(folder / "scan.nii.gz")]
    (failure,) = found.failures
    assert failure.file == str(folder / "series")
    assert "equally far apart" in failure.reason
