"""`--in-chans`: timm's own numbers, and what they mean."""

from __future__ import annotations

import numpy as np
import pytest

from converters import ConversionError, convert
from converters.steps.channels import adapt
from tests.cases import CASES, FLAT, NO_CLASS
from tests.fill import image
from tests.steps.common import call, kept, run, torch_twin, weights, write
from tests.steps.golden_cases import CHANNELS, kernel
from tests.steps.test_goldens import goldens
from vit_config import DataConfig, ViTConfig

KERNEL = "patch_embed.proj.weight"
DUAL = ("patch_embed.proj.weight", "patch_embed.proj.bias")
DUAL += ("patch_embed.norm_pre.weight", "patch_embed.norm_pre.bias")


@pytest.mark.parametrize("name", CHANNELS)
def test_bits_of_timm(name):
    old, new = CHANNELS[name]
    made = adapt(kernel((2, 3), old), new)
    assert made.dtype == np.float32
    assert np.array_equal(made, goldens()[name])


@pytest.mark.parametrize(
    ("case", "chans", "step"),
    [
        ("vit", 1, "in_chans:3->1:sum"),
        ("vit", 4, "in_chans:3->4:repeat"),
        ("tanh_3d", 1, "in_chans:4->1:sum"),
        ("vit_3d", 2, "in_chans:1->2:repeat"),
    ],
)
def test_only_the_kernel_changes(case, chans, step, tmp_path):
    config = CASES[case]
    report, made = run(tmp_path, config, in_chans=chans)
    assert report.steps == (step,)
    assert report.config.replace(in_chans=config.in_chans, source=None) == config
    kept(weights(config), made, but={KERNEL})
    assert np.array_equal(made[KERNEL], adapt(weights(config)[KERNEL], chans))


def outputs(config, tmp_path, chans, before, after):
    """Outputs of the model before and after, each for its own input."""
    report, made = run(tmp_path, config, in_chans=chans)
    first = call(torch_twin(config, weights(config)), before)
    second = call(torch_twin(report.config, made), after)
    assert first.std() > 0.05
    return first, second, made


@pytest.mark.parametrize("case", ["vit", "dual_norm", "dual_norm_3d", "tanh_3d"])
def test_a_grey_image_gives_what_its_copies_gave(case, tmp_path):
    config = CASES[case]
    grey = image((2, 1, *config.img_size))
    copies = grey.repeat(config.in_chans, axis=1)
    first, second, made = outputs(config, tmp_path, 1, copies, grey)
    assert np.abs(second - first).max() < 5e-6
    if config.patch_norm == "dual":
        kept(weights(config), made, but=set(DUAL))


@pytest.mark.parametrize("case", ["vit", "dual_norm", "dual_norm_3d"])
def test_repeated_channels_give_what_the_channels_gave(case, tmp_path):
    config = CASES[case]
    x = image((2, config.in_chans, *config.img_size))
    twice = np.concatenate([x, x], axis=1)
    first, second, _ = outputs(config, tmp_path, 2 * config.in_chans, x, twice)
    assert np.abs(second - first).max() < 5e-6


def test_a_dual_norm_without_a_bias_cannot_take_one_channel(tmp_path):
    config = ViTConfig(
        **{**FLAT, **NO_CLASS, "patch_norm": "dual", "patch_bias": False}
    )
    source = write(tmp_path / "a.safetensors", config)
    with pytest.raises(ConversionError, match="the projection no bias to take it"):
        convert(source, tmp_path / "b.safetensors", in_chans=1)
    assert run(tmp_path, config, in_chans=4)[0].ok


def test_preprocessing_follows_where_it_can(tmp_path):
    data = DataConfig(mean=(0.4, 0.5, 0.6), std=(0.5, 0.5, 0.5), crop_pct=0.9)
    config = CASES["vit"].replace(data=data.model_dump(mode="json"))
    report, _ = run(tmp_path, config, in_chans=1)
    found = report.config.data
    assert (found.mean, found.std, found.crop_pct) == (None, (0.5,), 0.9)
    (note,) = report.effects[0].notes
    assert note == "data.mean was one of 3 channels and is left out"


def test_a_sum_too_large_for_its_type_is_refused(tmp_path):
    config = CASES["vit"]
    arrays = weights(config, "float16")
    arrays[KERNEL][0, :, 0, 0] = 30000
    words = r"patch_embed\.proj\.weight  1 of \d+ values are too large for float16"
    with pytest.raises(ConversionError, match=words):
        run(tmp_path, config, arrays, in_chans=1)


def test_no_channels_are_refused(tmp_path):
    source = write(tmp_path / "a.safetensors", CASES["vit"])
    with pytest.raises(ConversionError, match="in_chans=0; 1 or more"):
        convert(source, tmp_path / "b.safetensors", in_chans=0)
