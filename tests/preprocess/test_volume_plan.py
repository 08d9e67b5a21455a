"""What `data` says of volumes, as numbers; and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests.preprocess.common import config as image_config
from tests.preprocess.volume_common import config
from vit_config import ConfigError, ViTConfig
from vit_config.preprocess_volume import (
    area,
    between,
    constant,
    make_volume_plan,
    rank,
    taken,
)

side = st.integers(1, 90)


@given(side, side)
def test_the_middle_is_taken(old, new):
    """Of either, what is left over on one side is at most one voxel more."""
    index, inside = taken(old, new, np)
    kept = index[inside]
    assert len(kept) == min(old, new)
    assert np.array_equal(kept, np.arange(kept[0], kept[0] + len(kept)))
    before, after = int(kept[0]), old - 1 - int(kept[-1])
    # MONAI keeps more before the middle where it crops, and pads more after it.
    assert before - after in ((0, 1, -1) if new < old else (0,))
    places = np.flatnonzero(inside)
    assert new - 1 - places[-1] - places[0] in (0, 1)


@given(st.sampled_from(["nearest", "bilinear"]), side, side)
def test_weights_are_between_neighbours(interpolation, old, new):
    lower, upper, part = between(old, new, interpolation, np)
    assert lower.min() >= 0 and upper.max() < old
    assert set(upper - lower) <= {0, 1} and part.min() >= 0 and part.max() < 1
    if interpolation == "bilinear":
        exact = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        assert np.abs(lower + part - exact).max() < 1e-9


@given(side, side)
def test_means_are_of_all_voxels(old, new):
    made = area(old, new, np)
    assert made.shape == (new, old)
    assert np.abs(made.sum(axis=1) - 1).max() < 1e-12 and (made.sum(axis=0) > 0).all()
    if old % new == 0:
        assert np.array_equal(made > 0, np.arange(old) // (old // new) == np.c_[:new])


@given(st.sampled_from(["nearest", "bilinear", "area"]), side, side)
def test_axes_are_resized_as_torch_does(interpolation, old, new):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(old).random((1, 1, old)).astype(np.float32)
    mode = {"bilinear": "linear"}.get(interpolation, interpolation)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(values), new, mode=mode)
    theirs = theirs.numpy()[0, 0]
    made = constant(interpolation, old, new)
    line = values[0, 0].astype(np.float64)
    if interpolation == "area":
        ours = made[0] @ line
    else:
        lower, upper, part = made
        ours = line[lower] + (line[upper] - line[lower]) * part
        if interpolation == "nearest":
            # Where the point lies on a voxel's edge, torch may take the one before.
            edge = (np.arange(new) * old) % new == 0
            before = line[np.maximum(lower - 1, 0)]
            ours = np.where(edge & (theirs != line[lower]), before, ours)
    # torch has the places in float32: off by up to 90 times its rounding.
    assert np.abs(ours - theirs).max() < 1e-5


@given(st.floats(0, 100), st.integers(1, 10**9))
def test_a_rank_is_among_the_values(percent, count):
    below, above, part = rank(percent, count)
    assert 0 <= below <= above < count and above - below in (0, 1)
    assert 0 <= part < 1
    assert abs((below + part) - percent / 100 * (count - 1)) <= 1e-6


def test_ranks_are_exact_among_many_values():
    assert rank(50.0, 2**24 + 4) == (2**23 + 1, 2**23 + 2, 0.5)


def test_tables_are_shared_and_cannot_be_changed():
    (made,) = constant("area", 9, 4)
    with pytest.raises(ValueError, match="read-only"):
        made[0] = 1


# ---- refusals ---------------------------------------------------------------------


def lines(**data):
    with pytest.raises(ConfigError) as error:
        make_volume_plan(config(**data))
    return error.value.problems


def test_a_model_without_preprocessing_is_refused():
    plain = ViTConfig(**{**config().to_dict(), "data": None})
    with pytest.raises(ConfigError, match="does not state its preprocessing") as error:
        make_volume_plan(plain)
    for name in ("axes", "orientation", "spacing_mm", "fit", "fit_first", "intensity"):
        assert f"data.{name}" in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["axes", "orientation", "spacing_mm", "fit", "fit_first", "pad_value"],
)
def test_a_field_that_is_not_stated_is_refused_by_name(name):
    (line,) = lines(**{name: None})
    assert line.startswith(f"data.{name}: not stated, and not guessed")


NOTHING = dict.fromkeys(("axes", "orientation", "spacing_mm", "fit", "fit_first"))


def test_all_that_is_missing_is_said_at_once():
    found = lines(**NOTHING, intensity=None, input_range=None, pad_value=None)
    assert len(found) == 6


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"axes": ("T", "H", "W"), "orientation": None}, "data.axes: found ('T', 'H'"),
        ({"intensity": None, "input_range": None}, "data.intensity: not stated, nor"),
        ({"intensity": {"kind": "window"}, "input_range": (0.0, 1.0)}, "low: not st"),
        ({"input_range": None}, "data.input_range: not stated"),
        ({"input_range": (1.0, 0.0)}, "data.input_range: found (1.0, 0.0)"),
        ({"intensity": {"kind": "zscore"}}, "data.input_range: found (0.0, 1.0) with"),
        ({"mean": (0.0, 0.0)}, "data.std: not stated, but data.mean is"),
        ({"std": (1.0, 1.0)}, "data.mean: not stated, but data.std is"),
        (
            {"fit": "resize", "pad_value": None},
            "data.interpolation: not stated, and not guessed; volumes are resized by",
        ),
        (
            {"fit": "resize", "pad_value": None, "interpolation": "bicubic"},
            "data.interpolation: found 'bicubic'; volumes are resized by nearest, bil",
        ),
    ],
)
def test_what_is_not_done_is_refused_by_name(data, named):
    found = lines(**data)
    assert named in found[0]
    assert len(found) == (2 if "low" in named else 1)


def test_any_spacing_need_not_be_stated():
    plan = make_volume_plan(config(spacing_mm=None, spacing_mode="keep"))
    assert plan.size == (6, 4, 10)


def test_images_are_refused():
    with pytest.raises(ConfigError, match="spatial_dims: found 2"):
        make_volume_plan(image_config())
