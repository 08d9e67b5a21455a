"""The torch twin: what the libraries' own processors give."""

from __future__ import annotations

import numpy as np
import pytest

from tests.preprocess.common import config, config_of, excess, goldens, image_of
from tests.preprocess.golden_cases import CASES, picture

torch = pytest.importorskip("torch")


def first(values):
    """(B, H, W, C) -> a tensor (B, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


def run(model_config, values, white=None):
    """The same there and back."""
    from torch_vit import Preprocess

    made = Preprocess(model_config, white=white)(first(values))
    assert made.dtype == torch.float32
    return made.numpy().transpose(0, 2, 3, 1)


def test_versions_are_recorded():
    versions, found = goldens()
    assert {"timm", "torchvision", "transformers", "pillow", "torch"} == versions.keys()
    assert found.keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_goldens(name):
    case = CASES[name]
    made = run(config_of(case), image_of(case), 1.0 if case.in_floats else None)
    assert excess(case, made) < 1


def test_floats_of_the_same_levels_give_the_same():
    levels = picture(31, 45)[None]
    made = run(config(), levels)
    assert np.array_equal(made, run(config(), levels.astype(np.float32), 255.0))
    unit = run(config(), (levels / 255).astype(np.float32), 1.0)
    assert np.abs((made - unit) * config().data.std).max() < 1e-6


def test_an_image_does_not_see_its_neighbours():
    images = np.stack([picture(23, 37), picture(37, 23).transpose(1, 0, 2)])
    together = run(config(), images)
    for i in range(2):
        alone = run(config(), images[i : i + 1])
        assert np.abs(together[i : i + 1] - alone).max() < 1e-6


def test_the_range_comes_before_mean_and_deviation():
    levels = picture(23, 37)[None]
    plain = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    unit = run(config(**plain), levels)
    assert 0 <= unit.min() < 0.1 and 0.9 < unit.max() <= 1
    moved = run(config(**plain, input_range=(-1.0, 1.0)), levels)
    assert np.abs(moved - (2 * unit - 1)).max() < 1e-6
    both = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 2.0, 4.0)}
    made = run(config(**both, input_range=(-1.0, 1.0)), levels)
    assert np.abs(made - (2 * unit - 1 - both["mean"]) / both["std"]).max() < 1e-5


def test_nothing_is_stored():
    from torch_vit import Preprocess

    module = Preprocess(config())
    assert not module.state_dict() and not list(module.parameters())


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        ((3, 9, 9), r"shape \(3, 9, 9\); expected \(B, C, H, W\)"),
        ((1, 1, 9, 9), r"1 channels; expected \(B, C, H, W\) with 3"),
        ((1, 9, 9, 3), "9 channels"),
        ((1, 3, 0, 9), "without a pixel"),
    ],
)
def test_other_images_are_refused(shape, named):
    from torch_vit import Preprocess

    with pytest.raises(ValueError, match=named):
        Preprocess(config())(torch.zeros(shape, dtype=torch.uint8))


def test_floats_without_a_white_are_refused():
    from torch_vit import Preprocess

    with pytest.raises(ValueError, match=r"white=1\.0"):
        Preprocess(config())(torch.zeros(1, 3, 9, 9))
    for white in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="white: found"):
            Preprocess(config(), white=white)
