"""What `data` says, as sizes and weights; and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests.preprocess.common import config
from vit_config import ConfigError, ViTConfig
from vit_config.preprocess import Axis, make_plan, matrix, weights, white_of

FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
side = st.integers(1, 90)


def axes(height, width, size=8, **data):
    found = make_plan(config(size, **data)).axes(height, width)
    return [(axis.resized, axis.start, axis.kept) for axis in found]


def test_both_edges_are_squashed_and_the_middle_is_kept():
    assert axes(40, 90, 224, crop_pct=0.875, crop_mode="squash") == [(256, 16, 224)] * 2


def test_the_aspect_ratio_is_kept_and_cut_off():
    # 256 * 90 / 40 = 576, 256 * 91 / 40 = 582.4, 256 * 40 / 33 = 310.3
    assert axes(40, 90, 224) == [(256, 16, 224), (576, 176, 224)]
    assert axes(40, 91, 224) == [(256, 16, 224), (582, 179, 224)]
    assert axes(40, 33, 224) == [(310, 43, 224), (256, 16, 224)]


def test_for_a_model_that_is_not_square_the_other_edge_is_rounded():
    # the width fits: 10 of 30, so 40 / 3 = 13.3; the height fits: 7 * 11 / 6 = 12.8
    assert axes(40, 30, (6, 10), crop_pct=1.0) == [(13, 4, 6), (10, 0, 10)]
    assert axes(6, 11, (8, 14), crop_pct=1.0) == [(8, 0, 8), (15, 0, 14)]


def test_half_a_pixel_goes_to_the_even_one_or_is_cut_off():
    for width, rounded, cut in ((9, 0, 0), (10, 1, 1), (11, 2, 1), (13, 2, 2)):
        for start, rule in ((rounded, None), (rounded, "round"), (cut, "floor")):
            _, found = axes(8, width, crop_pct=1.0, crop_start=rule)
            assert found == (width, start, 8), (width, rule)


@pytest.mark.parametrize("edge", [9, 16, 242, 248, 256, 438])
def test_a_quotient_of_sizes_gives_the_size_back(edge):
    for size in range(8, edge, 2):
        assert axes(edge, edge, size, crop_pct=size / edge)[0][0] == edge


@given(st.sampled_from(FILTERS), side, side)
def test_weights_sum_to_one(interpolation, old, new):
    made = matrix(Axis(old, new, 0, new), interpolation)
    assert made.shape == (new, old) and made.dtype == np.float32
    assert np.abs(made.astype(np.float64).sum(axis=1) - 1).max() < 1e-6


@given(st.sampled_from(FILTERS), side)
def test_the_same_size_is_the_same_image(interpolation, size):
    made = matrix(Axis(size, size, 0, size), interpolation)
    assert np.abs(made - np.eye(size)).max() < 1e-7


@given(st.sampled_from(FILTERS[1:]), side, side)
def test_no_side_is_favoured(interpolation, old, new):
    made = matrix(Axis(old, new, 0, new), interpolation)
    assert np.abs(made - made[::-1, ::-1]).max() < 1e-7


@given(st.sampled_from(FILTERS), side, side, st.data())
def test_a_crop_is_a_part_of_the_whole(interpolation, old, new, data):
    start = data.draw(st.integers(0, new - 1))
    kept = data.draw(st.integers(1, new - start))
    whole = matrix(Axis(old, new, 0, new), interpolation)
    part = matrix(Axis(old, new, start, kept), interpolation)
    assert np.array_equal(part, whole[start : start + kept])


@given(st.sampled_from(FILTERS[1:]), side, side)
def test_weights_are_those_of_pillow(interpolation, old, new):
    """Of floats, which Pillow does not round."""
    image = pytest.importorskip("PIL.Image")
    kind = getattr(image.Resampling, interpolation.upper())
    values = np.random.default_rng(old).random((1, old)).astype(np.float32)
    theirs = np.asarray(image.fromarray(values).resize((new, 1), kind))
    ours = matrix(Axis(old, new, 0, new), interpolation).astype(np.float64) @ values[0]
    assert np.abs(ours - theirs[0]).max() < 1e-6


@given(side, side)
def test_nearest_is_the_pixel_that_holds_the_point(old, new):
    made = matrix(Axis(old, new, 0, new), "nearest")
    exact = [(2 * i + 1) * old // (2 * new) for i in range(new)]
    assert made.argmax(axis=1).tolist() == exact and set(made.ravel()) <= {0.0, 1.0}


def test_long_rows_lose_nothing_in_float32():
    class Float32:
        """NumPy that divides as a graph does."""

        def __getattr__(self, name):
            return getattr(np, name)

        def divide(self, a, b):
            return (np.float32(a) / np.float32(b)).astype(np.float32)

    axis = Axis(16000, 256, 16, 224)
    for interpolation in FILTERS[1:]:
        exact = weights(axis, interpolation, np)
        made = weights(axis, interpolation, Float32())
        assert made.dtype == np.float32
        # in an image from 0 to 1 no pixel moves by more than this
        assert np.abs(made - exact).sum(axis=1).max() < 2e-6


# ---- refusals ---------------------------------------------------------------------


def test_a_model_without_preprocessing_is_refused():
    plain = ViTConfig(**{**config().to_dict(), "data": None})
    with pytest.raises(ConfigError, match="does not state its preprocessing") as error:
        make_plan(plain)
    for name in ("mean", "std", "input_range", "interpolation", "crop_pct"):
        assert f"data.{name}" in str(error.value)


NEEDED = ("mean", "std", "input_range", "interpolation", "crop_pct", "crop_mode")


@pytest.mark.parametrize("name", NEEDED)
def test_a_field_that_is_not_stated_is_refused_by_name(name):
    with pytest.raises(ConfigError) as error:
        make_plan(config(**{name: None}))
    (line,) = error.value.problems
    assert line.startswith(f"data.{name}: not stated, and not guessed")


def test_all_that_is_missing_is_said_at_once():
    with pytest.raises(ConfigError) as error:
        make_plan(config(**dict.fromkeys(NEEDED)))
    assert len(error.value.problems) == len(NEEDED)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"crop_mode": "border"}, "data.crop_mode: found 'border'"),
        ({"input_range": (1.0, 0.0)}, "data.input_range: found (1.0, 0.0)"),
        ({"input_range": (0.0, 0.5, 1.0)}, "data.input_range: found (0.0, 0.5, 1.0)"),
    ],
)
def test_what_is_not_done_is_refused_by_name(data, named):
    with pytest.raises(ConfigError) as error:
        make_plan(config(**data))
    (line,) = error.value.problems
    assert line.startswith(named)


def test_a_volume_is_refused():
    volume = config().replace(spatial_dims=3, img_size=8, patch_size=2)
    with pytest.raises(ConfigError, match="spatial_dims: found 3"):
        make_plan(volume)


def test_white_of_8_bits_is_255_and_that_of_floats_must_be_said():
    assert white_of("uint8", None) == white_of("uint8", 1.0) == 255
    assert white_of("float16", 1.0) == white_of("bfloat16", 1.0) == 1
    with pytest.raises(ValueError, match=r"white=255\.0"):
        white_of("float32", None)
    for dtype in ("int32", "bool", "uint16"):
        with pytest.raises(TypeError, match=f"found {dtype}"):
            white_of(dtype, 255.0)
