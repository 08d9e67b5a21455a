"""What is held out is held out: nothing of the test side is on the training side."""

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("nibabel")

from converters.demo import data2d, data3d
from converters.demo.task import DemoError


@pytest.fixture(scope="module")
def digits():
    return data2d.digits_task()


@pytest.fixture(scope="module")
def mri():
    return data3d.mri_task()


@pytest.fixture(scope="module")
def scans():
    return data3d.load_scans()


def as_rows(images):
    return {image.tobytes() for image in images}


def test_digits_are_split_once(digits):
    split = digits.split
    assert (len(split.train_y), len(split.test_y)) == (1257, 540)
    train, test = as_rows(split.train_x), as_rows(split.test_x)
    assert len(train) == 1257 and len(test) == 540  # no image twice
    assert not train & test


def test_digits_are_the_same_every_time(digits):
    again = data2d.digits_split()
    assert np.array_equal(again.test_x, digits.split.test_x)
    assert np.array_equal(again.test_y, digits.split.test_y)


def voxels_of(crops, shape):
    """Which voxels of the scan some crop contains."""
    seen = np.zeros(shape, bool)
    for corner in crops.corners:
        place = tuple(slice(s, s + n) for s, n in zip(corner, data3d.CROP, strict=True))
        seen[place] = True
    return seen


def test_no_voxel_is_on_both_sides(scans):
    scan = scans[..., 0]
    left = data3d.crops(scan, left=True, steps=(1, 1, 1))
    right = data3d.crops(scan, left=False, steps=(1, 1, 1))
    train, test = voxels_of(left, scan.shape), voxels_of(right, scan.shape)
    assert train.any() and test.any()
    assert not (train & test).any()
    assert not train[: data3d.MIDDLE[0]].any()
    assert not test[data3d.MIDDLE[0] :].any()


def test_the_split_is_made_of_these_halves(mri, scans):
    left = np.concatenate(
        [
            data3d.crops(scans[..., i], left=True, steps=data3d.TRAIN_STEPS).voxels
            for i in (0, 1)
        ]
    )
    right = data3d.crops(scans[..., 0], left=False, steps=data3d.TEST_STEPS).voxels
    data = mri.config.data
    for raw, given in ((left, mri.split.train_x), (right, mri.split.test_x)):
        expected = (raw - np.float32(data.mean[0])) / np.float32(data.std[0])
        assert np.array_equal(given[:, 0], expected)
    assert left.mean() == pytest.approx(data.mean[0], rel=1e-3)  # of training alone
    assert right.mean() != pytest.approx(data.mean[0], rel=1e-3)
    assert not as_rows(mri.split.train_x) & as_rows(mri.split.test_x)


def test_a_crop_lies_in_its_quadrant(scans):
    found = data3d.crops(scans[..., 0], left=False, steps=data3d.TEST_STEPS)
    for corner, label, voxels in zip(
        found.corners, found.labels, found.voxels, strict=True
    ):
        x, y, z = corner
        assert np.array_equal(scans[x : x + 16, y : y + 24, z : z + 8, 0], voxels)
        front, upper = divmod(int(label), 2)
        assert (y >= 45) == bool(front) and (y + 24 <= 45) == (not front)
        assert (z >= 12) == bool(upper) and (z + 8 <= 12) == (not upper)
        assert (voxels > data3d.TISSUE).mean() >= 0.5


@pytest.mark.parametrize("side", ["train", "test"])
def test_every_class_is_there_about_as_often(mri, digits, side):
    for task in (mri, digits):
        labels = getattr(task.split, f"{side}_y")
        counts = np.bincount(labels, minlength=task.config.num_classes)
        assert len(counts) == task.config.num_classes
        # Who always says the commonest class is not far above chance.
        assert counts.max() / counts.sum() < task.chance * 1.25


def test_the_bars_are_far_above_chance(mri, digits):
    assert digits.bar == 0.95
    assert mri.bar == 0.75 and mri.chance == 0.25
    assert len(mri.split.test_y) >= 64 and len(digits.split.test_y) >= 64
    for quick in (data2d.digits_task(quick=True), data3d.mri_task(quick=True)):
        assert quick.bar > quick.chance


def test_axes_of_the_crops_differ():
    assert len(set(data3d.CROP)) == 3


def test_another_scan_is_refused(monkeypatch):
    monkeypatch.setattr(data3d, "SHAPE", (1, 2, 3, 4))
    with pytest.raises(DemoError, match=r"example4d\.nii\.gz .* is another scan"):
        data3d.load_scans()
