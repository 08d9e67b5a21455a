"""Preprocessing inside a model that is not the one that the config says is found."""

from __future__ import annotations

import numpy as np
import pytest

from converters.workers.raw import (
    APART,
    PREPARED,
    SCALES,
    TOLERANCE,
    WHOLE,
    checks,
    states,
    write_raw,
)
from tests.preprocess.common import config
from tests.preprocess.volume_common import config as volume_config

torch = pytest.importorskip("torch")

CONFIG = config((8, 14))


@pytest.fixture(scope="module")
def raws(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    files = write_raw(folder, CONFIG, seed=3)["sets"]
    return {name: np.load(folder / file) for name, file in files.items()}


def answers(raws, given=CONFIG, change=lambda x: x, whole=1.0):
    """What a model says whose preprocessing is that of a config, and then changed."""
    from torch_vit import Preprocess

    found = {}
    for name, x in raws.items():
        made = Preprocess(given)(torch.from_numpy(np.ascontiguousarray(x))).numpy()
        found[f"raw:{name}:{PREPARED}"] = change(made)
        found[f"raw:{name}:{WHOLE}"] = np.float32([[whole]])
        found[f"raw:{name}:{APART}"] = np.float32([[1.0]])
    return found


def test_raw_inputs_see_every_axis(raws):
    for name, x in raws.items():
        assert x.dtype == np.uint8 and x.shape[1] == 3, name
        height, width = x.shape[2:]
        assert height != width and (height, width) != CONFIG.img_size
        for axis in (0, 1, 2, 3):
            assert not np.array_equal(np.flip(x, axis), x)
        assert x.std() > 30
    larger, smaller = (raws[name] for name in ("larger", "smaller"))
    for side, big, small in zip(
        CONFIG.img_size, larger.shape[2:], smaller.shape[2:], strict=True
    ):
        assert small < side < big


def test_the_right_preprocessing_passes(raws):
    found = list(checks("B", answers(raws), answers(raws)))
    assert [check.status for check in found] == ["passed"] * len(SCALES)
    nearly = answers(raws, change=lambda x: x + np.float32(0.5 * TOLERANCE))
    assert {check.status for check in checks("B", nearly, answers(raws))} == {"passed"}


VOLUMES = {
    "window": {"kind": "window", "low": -150.0, "high": 250.0, "clip": True},
    "percentile": {"kind": "percentile", "low": 1.0, "high": 99.0},
    "zscore": {"kind": "zscore"},
}


@pytest.mark.parametrize("kind", VOLUMES)
def test_volumes_turned_or_exchanged_fail(kind, tmp_path):
    config = volume_config(
        (6, 4, 10),
        intensity=VOLUMES[kind],
        input_range=None if kind == "zscore" else (0.0, 1.0),
    )
    files = write_raw(tmp_path, config)["sets"]
    raws = {name: np.load(tmp_path / file) for name, file in files.items()}
    shapes = {x.shape[2:] for x in raws.values()}
    assert all(len(set(shape)) == 3 for shape in shapes) and len(shapes) == 3
    right = answers(raws, config)
    assert {c.status for c in checks("B", right, right)} == {"passed"}
    turned = [lambda x, axis=axis: np.flip(x, axis) for axis in (1, 2, 3, 4)]
    for change in turned:
        given = answers(raws, config, change)
        assert {c.status for c in checks("B", given, right)} == {"failed"}
        # What comes turned into the model is seen as well as what goes out of it.
        given = answers({name: change(x) for name, x in raws.items()}, config)
        assert {c.status for c in checks("B", given, right)} == {"failed"}


CHANGES = {
    "rows turned": lambda x: x[:, :, ::-1],
    "columns turned": lambda x: x[:, :, :, ::-1],
    "channels turned": lambda x: x[:, ::-1],
    "images turned": lambda x: x[::-1],
    "axes exchanged": lambda x: x.swapaxes(2, 3),
    "a pixel further": lambda x: np.roll(x, 1, 3),
    "a little brighter": lambda x: x + np.float32(1e-3),
    "a value lost": lambda x: np.where(x == x.max(), np.float32(np.nan), x),
}
CONFIGS = {
    "mean off": config((8, 14), mean=(0.485, 0.456, 0.407)),
    "deviation off": config((8, 14), std=(0.229, 0.2241, 0.225)),
    "bilinear": config((8, 14), interpolation="bilinear"),
    "squashed": config((8, 14), crop_mode="squash"),
    "less cropped": config((8, 14), crop_pct=0.9),
    "range": config((8, 14), input_range=(-1.0, 1.0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_result_fails(change, raws):
    given = answers(raws, change=CHANGES[change])
    found = list(checks("B", given, answers(raws)))
    assert len(found) == len(SCALES)
    assert {check.status for check in found} == {"failed"}


@pytest.mark.parametrize("other", CONFIGS)
def test_another_preprocessing_fails(other, raws):
    found = list(checks("B", answers(raws, CONFIGS[other]), answers(raws)))
    assert "failed" in {check.status for check in found}
    assert any("not what the config's data says" in check.message for check in found)


def test_a_whole_that_is_not_its_parts_fails(raws):
    found = list(checks("B", answers(raws, whole=1.0000001), answers(raws)))
    assert {check.status for check in found} == {"failed"}
    assert all("other outputs than its model" in check.message for check in found)


def test_a_model_without_preprocessing_is_not_judged(raws):
    assert list(checks("B", {}, answers(raws))) == []
    assert states(CONFIG) and not states(config(8, mean=None, std=(1.0, 1.0, 1.0)))
