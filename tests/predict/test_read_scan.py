"""`converters.read_scan`: a scan as a 3D model takes it, for the user's own program."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

import converters
from converters import ConversionError, read_scan
from tests.predict.common import apart, saved
from tests.preprocess.volume_common import config
from tests.serving.test_card import exported
from vit_config import ConfigError

nibabel = pytest.importorskip("nibabel")

TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])
FLIP = np.array([[0, 0, -1], [1, 0, 0], [0, 1, 0.0]])
DIRECTIONS = {"straight": np.eye(3), "turned": FLIP, "oblique": TURN @ FLIP}
PLACE = {"RAS": ("X", "Y", "Z"), "PIR": ("Y", "Z", "X")}


def placed(folder, directions):
    """A scan whose three channels are the places of its voxels, in mm of RAS."""
    affine = np.eye(4)
    affine[:3, :3] = directions @ np.diag([0.8, 1.7, 2.9])
    affine[:3, 3] = (-11.0, 23.0, 5.0)
    index = np.stack(np.meshgrid(*map(np.arange, (9, 7, 5)), indexing="ij"), -1)
    values = index @ affine[:3, :3].T + affine[:3, 3]
    path = folder / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), affine), path)
    return path, affine


@pytest.mark.parametrize("mode", ["keep", "bilinear"])
@pytest.mark.parametrize("orientation", PLACE)
@pytest.mark.parametrize("directions", DIRECTIONS)
def test_the_affine_says_where_each_voxel_lies(directions, orientation, mode, tmp_path):
    path, affine = placed(tmp_path, DIRECTIONS[directions])
    spacing = {"spacing_mm": None if mode == "keep" else (1.1, 1.3, 1.9)}
    data = {"axes": PLACE[orientation], "orientation": orientation, **spacing}
    found = read_scan(path, config(in_chans=3, spacing_mode=mode, **data))
    assert "".join(nibabel.aff2axcodes(found.affine)) == orientation
    if mode == "bilinear":
        assert found.spacing_mm == pytest.approx((1.1, 1.3, 1.9))
        assert found.notes
    shape = found.values.shape[:3]
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    place = index @ found.affine[:3, :3].T + found.affine[:3, 3]
    there = (place - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    inside = ((there > -1e-4) & (there < np.array([8, 6, 4]) + 1e-4)).all(-1)
    assert inside.sum() > 0.6 * inside.size
    assert apart(found.values[inside], place[inside]) < 1e-3


def test_the_model_behind_it_gives_what_predict_gives(tmp_path):
    torch = pytest.importorskip("torch")
    import torch_vit

    path, _ = placed(tmp_path, DIRECTIONS["oblique"])
    model = saved(tmp_path, config(in_chans=3, spacing_mode="bilinear"))
    pipeline = torch_vit.Pipeline(torch_vit.ViT.from_pretrained(model)).eval()
    scan = read_scan(path, pipeline)
    with torch.inference_mode():
        logits = pipeline(torch.from_numpy(scan.values)[None].movedim(-1, 1))
    (expected,) = converters.predict(model, path).items
    assert apart(logits[0], expected.outputs) < 1e-6
    one = scan.instance()
    json.dumps(one)
    raw = base64.b64decode(one["volume_bytes"]["b64"])
    assert np.array_equal(
        np.frombuffer(raw, one["dtype"]).reshape(one["shape"]), scan.values
    )


def test_whatever_states_the_config_reads_the_same(tmp_path):
    path, _ = placed(tmp_path, DIRECTIONS["turned"])
    c = config(in_chans=3, spacing_mode="nearest")
    (tmp_path / "config.json").write_text(c.to_json())
    exported(tmp_path / "served", c)
    model = saved(tmp_path, c)
    keras = tmp_path / "model.keras"
    converters.convert(model, keras, verify="weights")
    expected = read_scan(path, c).values
    assert expected.shape != (9, 7, 5, 3)
    sources = (c.to_dict(), tmp_path / "config.json", str(model), keras)
    for source in (*sources, tmp_path / "served", tmp_path / "served" / "1"):
        assert np.array_equal(read_scan(path, source).values, expected)
    other = read_scan(path, c, changes={"data.spacing_mode": "bilinear"}).values
    assert other.shape == expected.shape and not np.array_equal(other, expected)


def test_what_is_no_scan_is_refused(tmp_path):
    path, _ = placed(tmp_path, np.eye(3))
    c = config(in_chans=3, spacing_mode="nearest")
    (tmp_path / "x.npy").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign" / "1").mkdir(parents=True)
    (tmp_path / "foreign" / "1" / "saved_model.pb").touch()
    flat = c.replace(spatial_dims=2, img_size=(8, 8), patch_size=(2, 2), data=None)
    for scan, source, words in (
        ("none.nii", c, "none.nii: .*no such file"),
        ("x.npy", c, "not a file of a scan; expected .nii"),
        ("empty", c, "a folder without DICOM files"),
        (path.name, c.replace(in_chans=1), "3 channels"),
        (path.name, flat, "the model takes inputs of 8 x 8"),
        (path.name, tmp_path / "foreign", "not written by vit-duet export"),
        (path.name, 3, "config: found 3"),
        (path.name, c.replace(data={**c.to_dict()["data"], "spacing_mode": None}), ""),
    ):
        with pytest.raises(ConversionError, match=f"(?s){words}") as refused:
            read_scan(tmp_path / scan, source)
        assert "nothing written" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"data\.orientation"):
        read_scan(path, config(in_chans=3, orientation=None))
