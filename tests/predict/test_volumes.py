"""`vit-duet predict` on a scan, from the file to the probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

import converters
from converters.cli.app import app
from tests.predict.common import apart, saved
from tests.preprocess.volume_cases import AFFINES, FILES
from tests.preprocess.volume_common import config, file_config

nibabel = pytest.importorskip("nibabel")
torch = pytest.importorskip("torch")

CASE = FILES["oblique RAS 1.5x1.5x1.5 bilinear 2"]


@pytest.fixture
def path(tmp_path):
    image = nibabel.Nifti1Image(CASE.values, AFFINES[CASE.affine])
    nibabel.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_a_scan_is_predicted_as_the_layer_and_the_model_say(path, tmp_path):
    import torch_vit
    from converters.inputs.volume import read_volume

    c = file_config(CASE).replace(problem_type="single_label")
    model = saved(tmp_path, c)
    (found,) = converters.predict(model, [path]).items
    volume = torch.from_numpy(read_volume(path, c).values)[None].movedim(-1, 1)
    with torch.inference_mode():
        x = torch_vit.Preprocess(c)(volume)
        expected = torch.softmax(torch_vit.ViT.from_pretrained(model).eval()(x)[0], 0)
    assert apart(found.probabilities, expected.numpy()) < 1e-5
    flipped = c.replace(data={**c.to_dict()["data"], "orientation": "LAS"})
    (folder := tmp_path / "flipped").mkdir()
    (other,) = converters.predict(saved(folder, flipped), [path]).items
    assert apart(other.probabilities, found.probabilities) > 1e-4


def test_a_model_that_does_not_say_how_scans_lie_is_refused(path, tmp_path):
    model = saved(tmp_path, config(orientation=None, fit=None, pad_value=None))
    call = ["predict", str(model), str(path)]
    found = CliRunner().invoke(app, call)
    assert found.exit_code == 1 and found.stdout == ""
    assert "data.orientation" in found.stderr and "data.fit" in found.stderr
    assert "--set data.orientation=RAS" in found.stderr
    assert "mean" not in found.stderr.partition("State what")[0]


def test_a_broken_scan_is_named(path, tmp_path):
    model = saved(tmp_path, file_config(CASE))
    values = CASE.values.astype(np.float32)
    values[1, 2, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    found = CliRunner().invoke(app, ["predict", str(model), str(path)])
    assert found.exit_code == 1
    assert "2 voxels that are NaN" in found.stdout + found.stderr
