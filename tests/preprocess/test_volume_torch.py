"""The torch twin: what MONAI's transforms give, and laws of every volume."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from tests.preprocess.volume_cases import CASES, scan
from tests.preprocess.volume_common import config, config_of, difference, goldens

torch = pytest.importorskip("torch")


def run(model_config, values):
    """(B, *spatial, C) there and back."""
    from torch_vit import Preprocess

    first = np.ascontiguousarray(np.moveaxis(values, -1, 1))
    made = Preprocess(model_config)(torch.from_numpy(first))
    assert made.dtype == torch.float32
    return np.moveaxis(made.numpy(), 1, -1)


def test_versions_are_recorded():
    versions, _ = goldens()
    assert versions["monai"] == "1.6.1"
    assert {"monai", "nibabel", "numpy", "torch"} == versions.keys()


@pytest.mark.parametrize("name", CASES)
def test_goldens(name):
    case = CASES[name]
    # A tenth of the promised 1e-5 of the range.
    assert difference(case, run(config_of(case), case.values[None])) < 1e-6


@pytest.mark.parametrize("kind", ["percentile", "zscore"])
def test_a_volume_does_not_see_its_neighbours(kind):
    ends = {"low": 2.0, "high": 99.0} if kind == "percentile" else {}
    extent = (0.0, 1.0) if ends else None
    c = config(intensity={"kind": kind, **ends}, input_range=extent)
    volumes = np.stack([scan(9, 5, 12, 2), 3 * scan(9, 5, 12, 2)[::-1] + 7])
    together = run(c, volumes)
    for i in range(2):
        assert np.abs(together[i] - run(c, volumes[i : i + 1])[0]).max() < 1e-6


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "float64", "float16"])
def test_whole_numbers_and_other_floats_give_the_same(dtype):
    values = np.clip(scan(9, 5, 12, 2), 0, None)[None]
    made = run(config(), values.astype(dtype))
    assert np.array_equal(made, run(config(), values))


def test_a_z_score_has_the_mean_0_and_the_deviation_1():
    zscore = {"intensity": {"kind": "zscore"}, "input_range": None}
    values = scan(9, 5, 12, 2)[None] + np.float32(3e4)
    made = run(config((9, 5, 12), **zscore), values).astype(np.float64)
    assert abs(made.mean()) < 1e-6 and abs(made.std() - 1) < 1e-6
    assert abs(made[..., 0].mean()) > 0.1  # of both channels together
    zscore["intensity"]["channel_wise"] = True
    made = run(config((9, 5, 12), **zscore), values).astype(np.float64)
    assert np.abs(made.mean((0, 1, 2, 3))).max() < 1e-6
    assert np.abs(made.std((0, 1, 2, 3)) - 1).max() < 1e-6


def test_zeros_stay_zeros_and_do_not_count():
    values = scan(9, 5, 12, 2)[None]
    zscore = {"kind": "zscore", "nonzero": True}
    made = run(config((9, 5, 12), intensity=zscore, input_range=None), values)
    assert (made[values == 0] == 0).all() and (made[values != 0] != 0).mean() > 0.9
    assert abs(made[values != 0].astype(np.float64).mean()) < 1e-6
    empty = run(config(intensity=zscore, input_range=None), np.zeros_like(values))
    assert not empty.any()


@pytest.mark.parametrize("value", [0.1, -1000.3, 31415.9])
def test_a_volume_of_one_value_has_no_noise(value):
    """The mean of many equal numbers is not always that number."""
    values = np.full((1, 33, 17, 29, 2), value, np.float32)
    for intensity in ({"kind": "zscore"}, {"kind": "zscore", "nonzero": True}):
        assert not run(config(intensity=intensity, input_range=None), values).any()


@pytest.mark.slow
def test_percentiles_of_many_voxels():
    """Ranks beyond what float32 counts, where MONAI 1.6.1 asks NumPy, too."""
    values = np.random.default_rng(3).permutation(2**20 * 17).astype(np.float32)
    intensity = {"kind": "percentile", "low": 0.7, "high": 99.1, "clip": False}
    c = config((2, 2, 2), 1, intensity=intensity, pad_value=None)
    c = c.replace(
        data={**c.to_dict()["data"], "fit": "resize", "interpolation": "nearest"}
    )
    volume = values.reshape(1, 256, 256, 272, 1)
    low, high = np.percentile(values.astype(np.float64), [0.7, 99.1])
    expected = (volume[:, ::128, ::128, ::136] - low) / (high - low)
    assert np.abs(run(c, volume) - expected).max() < 1e-6


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest", "area"])
def test_the_same_size_is_the_same_volume(interpolation):
    c = config(
        (8, 4, 10),
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
        **{"intensity": None, "input_range": None, "pad_value": None},
        **{"fit": "resize", "interpolation": interpolation},
    )
    values = scan(8, 4, 10, 2)[None]
    assert np.array_equal(run(c, values), values)


def test_the_middle_is_kept_and_the_rest_padded():
    c = config((6, 6, 6), 1, intensity=None, input_range=None, pad_value=-5.0)
    c = c.replace(data={**c.to_dict()["data"], "mean": [1.0], "std": [2.0]})
    values = scan(9, 3, 6, 1)[None]
    made = run(c, values)
    # 9 -> 6 from 4 - 3; 3 -> 6 after (6 - 3) // 2
    inside = (values[:, 1:7] - 1) / 2
    assert np.array_equal(made[:, :, 1:4], inside)
    assert (made[:, :, [0, 4, 5]] == -5).all()
    c = c.replace(data={**c.to_dict()["data"], "fit_first": True})
    assert (run(c, values)[:, :, [0, 4, 5]] == -3).all()  # (-5 - 1) / 2


TURNS = [
    (order, flips)
    for order in permutations(range(3))
    for flips in product((1, -1), repeat=3)
    if (order, flips) != ((0, 1, 2), (1, 1, 1))
]


@pytest.mark.parametrize("fit", ["resize", "pad_or_crop"])
def test_a_volume_turned_is_another_input(fit):
    """Nothing here can see how a scan lies: 47 of 48 ways are wrong, and show."""
    data = {"fit": fit, "pad_value": 0.0 if fit == "pad_or_crop" else None}
    c = config(interpolation="bilinear", **data)
    values = scan(13, 9, 22, 2)[None]
    right = run(c, values)
    assert len(TURNS) == 47
    for order, flips in TURNS:
        turned = values.transpose(0, *(i + 1 for i in order), 4)
        turned = turned[:, :: flips[0], :: flips[1], :: flips[2]]
        difference = run(c, np.ascontiguousarray(turned)) - right
        assert np.sqrt(np.mean(difference**2)) > 0.1, (order, flips)


# ---- refusals ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        ((2, 9, 9, 9), r"shape \(2, 9, 9, 9\); expected \(B, C, \*spatial\) in 3D"),
        ((1, 1, 9, 9, 9), r"1 channels; expected \(B, C, \*spatial\) with 2"),
        ((1, 9, 9, 9, 2), "9 channels"),
        ((1, 2, 0, 9, 9), "without a voxel"),
        ((1, 2, 9, 9, 9, 4), "expected"),
    ],
)
def test_other_volumes_are_refused(shape, named):
    from torch_vit import Preprocess

    with pytest.raises(ValueError, match=named):
        Preprocess(config())(torch.zeros(shape))


def test_what_is_no_number_is_refused():
    from torch_vit import Preprocess

    for dtype in (torch.bool, torch.complex64):
        with pytest.raises(TypeError, match="only floats or integers"):
            Preprocess(config())(torch.zeros((1, 2, 5, 5, 5), dtype=dtype))


def test_volumes_have_no_white():
    from torch_vit import Preprocess

    with pytest.raises(ValueError, match=r"white: found 255\.0; volumes have none"):
        Preprocess(config(), white=255.0)


def test_nothing_is_stored():
    from torch_vit import Preprocess

    module = Preprocess(config())
    assert not module.state_dict() and not list(module.parameters())
