"""Raw volumes show every axis that is turned, and every field that is another."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from converters.inputs.prepare_volume import prepare_volume
from converters.parity.faults import BASES, faults_of
from converters.parity.faults.base import Model
from converters.workers.raw_volumes import raw_volumes
from tests.preprocess.volume_common import config
from vit_config import ConfigError, DataConfig, IntensityConfig
from vit_config.preprocess_volume import make_volume_plan

ZSCORE = {"intensity": {"kind": "zscore", "nonzero": True}, "input_range": None}
RESIZE = {"fit": "resize", "interpolation": "bilinear", "pad_value": None}
PERCENTILE = {"intensity": {"kind": "percentile", "low": 2.0, "high": 99.0}}
MEAN = {"intensity": None, "input_range": None, "mean": (50.0, 9.0), "std": (90.0, 7.0)}
CASES = {
    "window, padded": {},
    "window, cubes": {"size": 8},
    "z-score, resized": {**ZSCORE, **RESIZE},
    "percentiles, resized first": {**PERCENTILE, **RESIZE, "fit_first": True},
    "mean": MEAN,
}
TURNS = [
    (order, flips)
    for order in permutations(range(3))
    for flips in product((1, -1), repeat=3)
][1:]


@pytest.mark.parametrize("name", CASES)
def test_every_turn_of_every_volume_shows(name):
    c = config(**CASES[name])
    plan = make_volume_plan(c)
    volumes = raw_volumes(c)
    assert len({v.shape for v in volumes}) == 3
    for values in volumes:
        assert values.dtype == np.float32 and len(set(values.shape[:3])) == 3
        right = prepare_volume(values, plan)
        for order, flips in TURNS:
            turned = values.transpose(*order, 3)
            turned = turned[:: flips[0], :: flips[1], :: flips[2]]
            off = prepare_volume(turned, plan) - right
            assert np.sqrt(np.mean(off**2)) > 0.1 * right.std(), (order, flips)


@pytest.mark.parametrize("name", CASES)
def test_a_layer_that_turns_its_result_shows(name):
    c = config(**CASES[name])
    for values in raw_volumes(c):
        right = prepare_volume(values, make_volume_plan(c))
        for axis in (1, 2, 3):
            off = np.flip(right, axis) - right
            assert np.sqrt(np.mean(off**2)) > 0.1 * right.std(), axis


OTHER = {
    "fit": {"fit": "resize", "interpolation": "area", "pad_value": None},
    "fit_first": {"fit_first": True},
    "pad_value": {"pad_value": 0.5},
    "clip": {"intensity": {"kind": "window", "low": -175.0, "high": 250.0, "clip": 0}},
    "low": {"intensity": {"kind": "window", "low": -160.0, "high": 250.0}},
    "range": {"input_range": (0.0, 1.1)},
}


@pytest.mark.parametrize("name", OTHER)
def test_every_field_that_is_another_shows(name):
    changes = OTHER[name]
    if name == "clip":
        changes = {"intensity": {**changes["intensity"], "clip": False}}
    base = config(pad_value=0.1)
    one, other = make_volume_plan(base), make_volume_plan(config(**changes))
    off = [
        np.abs(prepare_volume(v, one) - prepare_volume(v, other)).max()
        for v in raw_volumes(base)
    ]
    assert max(off) > 1e-2


def test_a_config_that_does_not_state_it_is_refused():
    with pytest.raises(ConfigError, match=r"data\.fit: not stated"):
        raw_volumes(config(fit=None, pad_value=None))


def test_every_field_of_volumes_has_a_fault():
    """Which `verify` finds, and blames the field for: docs/faults.md counts them."""
    changed: set[str] = set()
    for c in BASES.values():
        for fault in faults_of(c, "file"):
            if not fault.name.startswith("data/") or fault.name == "data/dropped":
                continue
            assert fault.change is not None
            found = fault.change(Model(c, {})).config.data
            assert found is not None and c.data is not None
            for field in DataConfig.model_fields:
                if getattr(found, field) != getattr(c.data, field):
                    changed.add(field)
            one, other = c.data.intensity, found.intensity
            if one is not None and other is not None and one.kind == other.kind:
                for field in IntensityConfig.model_fields:
                    if getattr(one, field) != getattr(other, field):
                        changed.add(f"intensity.{field}")
    expected = set(DataConfig.model_fields) - {"crop_start"}
    expected |= {f"intensity.{name}" for name in IntensityConfig.model_fields}
    assert changed == expected - {"intensity.kind"}
