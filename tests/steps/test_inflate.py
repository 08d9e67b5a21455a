"""`--inflate`: a 2D model in 3D, exact where it says so."""

from __future__ import annotations

import numpy as np
import pytest

from converters import ConversionError, convert
from tests.cases import CASES
from tests.fill import image
from tests.steps.common import call, kept, run, torch_twin, weights, write

CHANGED = {"patch_embed.proj.weight", "pos_embed"}
AXES = [0, 1, 2]


def volume(x: np.ndarray, depth: int, axis: int) -> np.ndarray:
    """(B, C, H, W) -> every slice along the new axis the same."""
    return np.expand_dims(x, 2 + axis).repeat(depth, axis=2 + axis)


def inflated(case, tmp_path, **options):
    config = CASES[case]
    report, made = run(tmp_path, config, **options)
    x = image((2, config.in_chans, *config.img_size))
    models = torch_twin(config, weights(config)), torch_twin(report.config, made)
    return report, made, x, *models


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("case", ["vit", "registers", "positions_cls", "map", "sincos"])
def test_mean_is_exact_on_a_constant_volume(case, axis, tmp_path):
    options = {"inflate": "mean", "depth": 4, "patch_depth": 4, "inflate_axis": axis}
    report, made, x, flat, solid = inflated(case, tmp_path, **options)
    assert report.steps == (f"inflate:mean:axis={axis}:depth=4:patch_depth=4",)
    kept(weights(CASES[case]), made, but=CHANGED)
    config = report.config
    assert config.spatial_dims == 3
    assert (config.img_size[axis], config.patch_size[axis]) == (4, 4)
    rest = [n for i, n in enumerate(config.img_size) if i != axis]
    assert tuple(rest) == CASES[case].img_size
    first, second = call(flat, x), call(solid, volume(x, 4, axis))
    assert first.std() > 0.05 and np.abs(second - first).max() < 5e-6
    uneven = volume(x, 4, axis)
    uneven[(slice(None),) * (2 + axis) + (3,)] *= -1
    assert np.abs(call(solid, uneven) - first).max() > 1e-2


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("case", ["vit", "avg", "tokens"])
def test_center_sees_the_central_slice_alone(case, axis, tmp_path):
    options = {"inflate": "center", "depth": 5, "patch_depth": 5, "inflate_axis": axis}
    _, _, x, flat, solid = inflated(case, tmp_path, **options)
    noise = image((2, x.shape[1], *solid.config.img_size), seed=1)
    center = (slice(None),) * (2 + axis) + (2,)
    noise[center] = x
    first, second = call(flat, x), call(solid, noise)
    assert first.std() > 0.05 and np.abs(second - first).max() < 5e-6
    noise[center] = noise[(slice(None),) * (2 + axis) + (1,)]
    assert np.abs(call(solid, noise) - first).max() > 1e-2


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("case", ["avg", "dual_norm", "sincos"])
def test_deeper_volumes_are_exact_without_prefix_tokens(case, axis, tmp_path):
    """Three equal patches behind each other: attention over them changes nothing."""
    options = {"inflate": "mean", "depth": 12, "patch_depth": 4, "inflate_axis": axis}
    _, _, x, flat, solid = inflated(case, tmp_path, **options)
    assert not flat.config.num_prefix_tokens
    first, second = call(flat, x), call(solid, volume(x, 12, axis))
    assert np.abs(second - first).max() < 5e-6


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("kind", ["mean", "center"])
def test_tokens_before_the_blocks_stand_once_for_every_patch(kind, axis, tmp_path):
    options = {"inflate": kind, "depth": 6, "patch_depth": 2, "inflate_axis": axis}
    _, _, x, flat, solid = inflated("registers", tmp_path, **options)
    import torch

    with torch.no_grad():
        one = flat.forward_taps(torch.from_numpy(x))[1]["pos_embed"].numpy()
        many = solid.forward_taps(torch.from_numpy(volume(x, 6, axis)))
        many = many[1]["pos_embed"].numpy()
    prefix = flat.config.num_prefix_tokens
    assert np.array_equal(many[:, :prefix], one[:, :prefix])
    grid = many[:, prefix:].reshape(2, *solid.config.grid_size, -1)
    wanted = one[:, prefix:].reshape(2, *flat.config.grid_size, -1)
    wanted = np.expand_dims(wanted, 1 + axis).repeat(3, axis=1 + axis)
    assert np.abs(grid - wanted).max() < 1e-5


def test_cubic_patches_and_the_first_axis_are_the_default(tmp_path):
    config = CASES["vit"].replace(patch_size=(8, 8))
    report, _ = run(tmp_path, config, inflate="mean", depth=32)
    assert report.steps == ("inflate:mean:axis=0:depth=32:patch_depth=8",)
    assert report.config.img_size == (32, 48, 32)
    assert report.config.patch_size == (8, 8, 8)


def test_size_and_channels_go_with_it(tmp_path):
    report, made = run(
        tmp_path,
        CASES["vit"],
        image_size="16x64x64",
        in_chans=1,
        inflate="center",
        depth=8,
        patch_depth=2,
        num_classes=0,
    )
    assert report.steps == (
        "output:logits->pooled",
        "in_chans:3->1:sum",
        "inflate:center:axis=0:depth=8:patch_depth=2",
        "image_size:8x48x32->16x64x64:bilinear",
    )
    model = torch_twin(report.config, made)
    assert call(model, image((1, 1, 16, 64, 64))).shape == (1, 24)


@pytest.mark.parametrize(
    ("case", "options", "words"),
    [
        ("vit_3d", {"inflate": "mean", "depth": 8}, "3D already"),
        ("vit", {"inflate": "mean"}, "inflate= needs depth="),
        ("vit", {"inflate": "mean", "depth": 8}, r"patch \(8x16\) is not square"),
        (
            "vit",
            {"inflate": "mean", "depth": 9, "patch_depth": 2},
            r"patch \(2\) does not divide depth=9",
        ),
        ("vit", {"inflate": "sum", "depth": 8}, "known are mean, center"),
        (
            "vit",
            {"inflate": "mean", "depth": 8, "inflate_axis": 3},
            "known are 0, 1, 2",
        ),
        ("vit", {"depth": 8}, "depth= belongs to inflate="),
        ("vit", {"patch_depth": 8}, "patch_depth= belongs to inflate="),
        ("vit", {"inflate_axis": 0}, "inflate_axis= belongs to inflate="),
        ("vit", {"inflate": "mean", "depth": 0}, "depth=0; 1 or more"),
        (
            "dual_norm",
            {"inflate": "center", "depth": 8, "patch_depth": 2},
            "normalised over all its slices",
        ),
    ],
)
def test_impossible_inflations_are_refused(case, options, words, tmp_path):
    source = write(tmp_path / "a.safetensors", CASES[case])
    with pytest.raises(ConversionError, match=words):
        convert(source, tmp_path / "b.safetensors", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
