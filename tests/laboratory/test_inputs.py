"""Seeded inputs: what each kind is for, it does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from converters.workers.inputs import (
    BATCHES,
    KINDS,
    MOST_BYTES,
    counts_for,
    seeded,
    write_sets,
)
from vit_config import ViTConfig


def config(**changes) -> ViTConfig:
    fields = {"img_size": (12, 20), "patch_size": 4, "embed_dim": 16, "depth": 1}
    return ViTConfig(**{**fields, "num_heads": 2, "mlp_dim": 16, **changes})


FLAT = config()
DEEP = config(spatial_dims=3, img_size=(8, 12, 16), in_chans=2)
CUBE = config(spatial_dims=3, img_size=16, in_chans=1)
CONFIGS = pytest.mark.parametrize("c", [FLAT, DEEP, CUBE], ids=["2d", "3d", "cube"])


@CONFIGS
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_the_shape_asked_for_and_is_finite(kind, c):
    x = seeded(kind, c, 3)
    assert x.shape == (3, c.in_chans, *c.img_size)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()


@pytest.mark.parametrize("kind", KINDS)
def test_more_inputs_leave_the_first_ones_alone(kind):
    np.testing.assert_array_equal(seeded(kind, DEEP, 5)[:2], seeded(kind, DEEP, 2))


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "zeros"])
def test_inputs_depend_on_the_seed_and_differ_from_each_other(kind):
    x = seeded(kind, FLAT, 3, seed=1)
    assert not np.array_equal(x, seeded(kind, FLAT, 3, seed=2))
    for a, b in itertools.combinations(x, 2):
        assert np.abs(a - b).max() > 0.1 * np.abs(a).max()


def test_batches_are_the_first_rows_of_noise():
    noise = seeded("noise", DEEP, 7)
    for kind, rows in BATCHES.items():
        np.testing.assert_array_equal(seeded(kind, DEEP, rows), noise[:rows])
    assert sorted(BATCHES.values()) == [1, 3]


@pytest.mark.parametrize("kind", ["noise", "structured", "large", "low_variance"])
def test_no_flip_or_exchange_of_axes_or_channels_gives_the_input_back(kind):
    x = seeded(kind, config(spatial_dims=3, img_size=8, in_chans=2), 1)[0]
    size = np.abs(x - x.mean()).max()
    for order in itertools.permutations(range(1, 4)):
        for flips in itertools.product([slice(None), slice(None, None, -1)], repeat=4):
            moved = x.transpose(0, *order)[flips]
            if order != (1, 2, 3) or flips != (slice(None),) * 4:
                assert np.abs(moved - x).max() > 1e-3 * size


def test_noise_is_standard_normal_and_large_is_not():
    noise, large = seeded("noise", FLAT, 64), seeded("large", FLAT, 64)
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    assert abs(large.std() - 256) < 5
    assert not np.array_equal(large, 256 * noise)


def test_low_variance_is_faint_noise_of_its_own():
    x = seeded("low_variance", FLAT, 64).astype(np.float64)
    assert abs(x.mean()) < 1e-4
    assert 3.5e-6 < x.var() < 4.1e-6
    assert not np.array_equal(x * 2**9, seeded("noise", FLAT, 64))


@CONFIGS
def test_structured_inputs_are_smooth_and_slope_along_each_axis(c):
    x = seeded("structured", c, 8).astype(np.float64)
    noise = seeded("noise", c, 8).astype(np.float64)
    slopes = []
    for axis in range(2, x.ndim):
        step, plain = np.diff(x, axis=axis).std(), np.diff(noise, axis=axis).std()
        assert step / x.std() < 0.7 * plain / noise.std()
        lengths = [1] * x.ndim
        lengths[axis] = x.shape[axis]
        places = np.linspace(-1, 1, x.shape[axis]).reshape(lengths)
        slopes.append((x * places).mean() / (places**2).mean())
    assert min(abs(a - b) for a, b in itertools.combinations(slopes, 2)) > 0.1


def test_structured_channels_are_alike_but_not_the_same():
    x = seeded("structured", config(img_size=64, patch_size=8), 16).astype(np.float64)
    first, second = x[:, 0], x[:, 1]
    assert 0.5 < np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.99
    bends = np.diff(first - second, n=2, axis=1)  # a ramp has none
    assert bends.std() > 0.1


def test_axes_of_one_pixel_are_possible():
    c = config(spatial_dims=3, img_size=(1, 8, 1), patch_size=(1, 4, 1), in_chans=1)
    assert np.isfinite(seeded("structured", c, 2)).all()
    one = config(img_size=1, patch_size=1)
    assert np.isfinite(seeded("structured", one, 2)).all()


def test_a_small_model_gets_64_inputs_and_a_large_one_few():
    small = counts_for(FLAT)
    assert {small[k] for k in ("noise", "structured", "large", "low_variance")} == {64}
    base = counts_for(ViTConfig.preset("vit-b16-224"))
    assert 3 <= base["noise"] < 16
    assert 2 <= base["structured"] <= base["noise"]
    assert set(small) == set(base) == set(KINDS)


def test_large_volumes_stay_within_memory():
    c = config(
        spatial_dims=3, img_size=256, patch_size=64, in_chans=1, embed_dim=2, mlp_dim=2
    )
    counts = counts_for(c)
    for kind in ("noise", "structured", "large", "low_variance"):
        assert 3 < counts[kind] < 64
        assert counts[kind] * 4 * 256**3 <= MOST_BYTES


def test_sets_are_written_as_made(tmp_path):
    files = write_sets(tmp_path, FLAT, 5, {"noise": 4, "batch3": 3, "zeros": 1})
    assert sorted(files) == ["batch3", "noise", "zeros"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files.values())
    for kind, count in (("noise", 4), ("batch3", 3), ("zeros", 1)):
        found = np.load(tmp_path / files[kind])
        np.testing.assert_array_equal(found, seeded(kind, FLAT, count, 5))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'pictures'; known are noise"):
        seeded("pictures", FLAT, 1)
