"""`--image-size` and `--patch-size`: the kernel, the table, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from converters import ConversionError, convert
from converters.steps.resample import resample_positions, resize_kernel
from tests.cases import CASES, FLAT
from tests.fill import image
from tests.steps.common import call, kept, run, torch_twin, weights, write
from vit_config import ViTConfig

TABLE = {"pos_embed"}
KERNEL = {"patch_embed.proj.weight"}

# name of the model, new image size, the step's text
SIZES = [
    ("vit", "64x48", "image_size:48x32->64x48:bicubic_aa"),
    ("vit", (48, 64), "image_size:48x32->48x64:bicubic_aa"),
    ("registers", 32, "image_size:48x32->32x32:bicubic_aa"),
    ("positions_cls", (16, 64), "image_size:48x32->16x64:bicubic_aa"),
    ("all_prefixes", (16, 64), "image_size:48x32->16x64:bicubic_aa"),
    ("positions_patch", (16, 64), "image_size:48x32->16x64:bicubic_aa"),
    ("avg", (96, 16), "image_size:48x32->96x16:bicubic_aa"),
    ("sincos", (96, 16), "image_size:48x32->96x16:bicubic_aa"),
    ("vit_3d", "48X24x32", "image_size:32x24x16->48x24x32:bilinear"),
    ("sincos_3d", 24, "image_size:32x24x16->24x24x24:bilinear"),
]


@pytest.mark.parametrize(("case", "size", "step"), SIZES)
def test_only_the_table_is_resampled(case, size, step, tmp_path):
    config = CASES[case]
    report, made = run(tmp_path, config, image_size=size)
    assert report.steps == (step,)
    old = weights(config)
    kept(old, made, but=TABLE)
    after = report.config
    assert after.replace(img_size=config.img_size, source=None) == config
    table = resample_positions(
        old["pos_embed"], config.grid_size, after.grid_size, after.pos_resize_rule
    )
    assert np.array_equal(made["pos_embed"], table.astype(np.float32))
    x = image((1, after.in_chans, *after.img_size))
    assert np.isfinite(call(torch_twin(after, made), x)).all()


@pytest.mark.parametrize("rule", ["bicubic", "bicubic_offset", "zoom1"])
def test_the_rule_is_the_sources_own(rule, tmp_path):
    config = CASES["vit"].replace(pos_resize=rule)
    report, made = run(tmp_path, config, image_size=(96, 48))
    assert report.steps == (f"image_size:48x32->96x48:{rule}",)
    assert not any("default" in note for note in report.effects[0].notes)
    table = weights(config)["pos_embed"]
    wanted = resample_positions(table, (6, 2), (12, 3), rule)
    assert np.array_equal(made["pos_embed"], wanted.astype(np.float32))
    other = resample_positions(table, (6, 2), (12, 3), "bicubic_aa")
    assert np.abs(made["pos_embed"] - other).max() > 1e-2


def test_a_default_rule_and_a_fixed_table_are_told(tmp_path):
    report, _ = run(tmp_path, CASES["sincos"], image_size=64)
    assert report.effects[0].notes == (
        "fixed sine-cosine table resampled from 6x2 to 8x4 patches by bicubic_aa",
        "the source does not say its rule; bicubic_aa is the default",
    )
    assert report.config.pos_embed == "sincos"
    assert "bicubic_aa is the default" in str(report)
    notes = report.to_dict()["effects"][0]["notes"]
    assert notes == list(report.effects[0].notes)


def test_the_same_size_is_no_step(tmp_path):
    config = CASES["vit"]
    report, made = run(tmp_path, config, image_size=(48, 32), patch_size="8x16")
    assert report.steps == () and report.config == config
    kept(weights(config), made, but=set())


def test_without_a_table_only_the_config_changes(tmp_path):
    config = CASES["no_positions"]
    report, made = run(tmp_path, config, image_size=64)
    assert report.steps == ("image_size:48x32->64x64:no_table",)
    kept(weights(config), made, but=set())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": (50, 32)}, "50 on axis 0 is not a multiple of patch_size 8"),
        ({"image_size": (48, 32, 32)}, "48, 32, 32] has 3 axes; the model has 2"),
        ({"image_size": "48x"}, "48x; expected a size like 224 or 224x224"),
        ({"image_size": 32.5}, "image_size=.*32.5.*; expected a size like 224"),
        ({"image_size": (32, 16.5)}, "expected a size like 224 or 224x224"),
        (
            {"num_classes": 4, "seed": "1"},
            "seed: found '1'; an integer would be right",
        ),
        (
            {"num_classes": 4, "seed": 1.5},
            "seed: found 1.5; an integer would be right",
        ),
        ({"num_classes": True}, "num_classes: found True; an integer would be right"),
        ({"image_size": 0}, "expected a size like 224 or 224x224"),
        ({"patch_size": (8, 12)}, "32 on axis 1 is not a multiple of patch_size 12"),
        ({"patch_size": -8}, "patch_size=.-8.; expected a size"),
    ],
)
def test_impossible_sizes_are_refused(options, words, tmp_path):
    source = write(tmp_path / "a.safetensors", CASES["vit"])
    with pytest.raises(ConversionError, match=words) as error:
        convert(source, tmp_path / "b.safetensors", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    hint = "Give image_size=, too." if "12" in words else ""
    assert error.value.hint == hint


# ---- patches ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "patch", "steps"),
    [
        (
            "vit",
            (4, 8),
            ("patch_size:8x16->4x8:bicubic_aa", "pos_embed:6x2->12x4:bicubic_aa"),
        ),
        (
            "vit_3d",
            (4, 12, 16),
            (
                "patch_size:8x8x8->4x12x16:bicubic_aa",
                "pos_embed:4x3x2->8x2x1:bilinear",
            ),
        ),
    ],
)
def test_kernel_is_resized_and_the_table_follows_the_grid(case, patch, steps, tmp_path):
    config = CASES[case]
    report, made = run(tmp_path, config, patch_size=patch)
    assert report.steps == steps
    after = report.config
    assert (after.img_size, after.patch_size) == (config.img_size, patch)
    old = weights(config)
    kept(old, made, but=TABLE | KERNEL)
    kernel = resize_kernel(old["patch_embed.proj.weight"], patch, "bicubic_aa")
    assert np.array_equal(made["patch_embed.proj.weight"], kernel.astype(np.float32))
    table = resample_positions(
        old["pos_embed"], config.grid_size, after.grid_size, after.pos_resize_rule
    )
    assert np.array_equal(made["pos_embed"], table.astype(np.float32))


def test_both_sizes_that_keep_the_grid_keep_the_table(tmp_path):
    config = CASES["vit"]
    report, made = run(tmp_path, config, patch_size=(4, 8), image_size=(24, 16))
    assert report.steps == (
        "patch_size:8x16->4x8:bicubic_aa",
        "image_size:48x32->24x16:same_grid",
    )
    kept(weights(config), made, but=KERNEL)


@pytest.mark.parametrize("case", ["vit", "features_3d"])
def test_larger_patches_of_a_resized_image_give_the_same_tokens(case, tmp_path):
    """The law of FlexiViT, on the output of the whole model."""
    from converters.steps.resample import resample

    config = CASES[case]
    patch = tuple(2 * p for p in config.patch_size)
    size = tuple(2 * n for n in config.img_size)
    report, made = run(tmp_path, config, patch_size=patch, image_size=size)
    x = image((2, config.in_chans, *config.img_size))
    large = np.zeros((*x.shape[:2], *size), np.float32)
    for index in np.ndindex(*config.grid_size):  # every patch by itself
        cut = [
            slice(i * p, i * p + p)
            for i, p in zip(index, config.patch_size, strict=True)
        ]
        put = [slice(i * p, i * p + p) for i, p in zip(index, patch, strict=True)]
        large[(..., *put)] = resample(x[(..., *cut)], patch, "bicubic_aa", first=2)
    before = call(torch_twin(config, weights(config)), x)
    after = call(torch_twin(report.config, made), large)
    assert np.abs(after - before).max() < 2e-5
    assert before.std() > 0.1


def test_flexivit_patches_are_resized_bilinearly(tmp_path):
    config = CASES["vit"].replace(pos_resize="bilinear")
    report, made = run(tmp_path, config, patch_size=16)
    assert report.steps[0] == "patch_size:8x16->16x16:bilinear"
    kernel = weights(config)["patch_embed.proj.weight"]
    wanted = resize_kernel(kernel, (16, 16), "bilinear").astype(np.float32)
    assert np.array_equal(made["patch_embed.proj.weight"], wanted)


def test_normalised_pixels_cannot_be_resized(tmp_path):
    source = write(tmp_path / "a.safetensors", CASES["dual_norm"])
    with pytest.raises(ConversionError, match="normalised pixel by pixel"):
        convert(source, tmp_path / "b.safetensors", patch_size=16)


# ---- types --------------------------------------------------------------------------


def test_half_precision_is_rounded_once(tmp_path):
    config = CASES["vit"]
    arrays = weights(config, "float16")
    report, made = run(tmp_path, config, arrays, image_size=64)
    assert report.dtype == "float16"
    exact = resample_positions(arrays["pos_embed"], (6, 2), (8, 4), "bicubic_aa")
    assert np.array_equal(made["pos_embed"], exact.astype(np.float16))


def test_a_wider_type_comes_first_and_a_narrower_one_last(tmp_path):
    config = CASES["vit"]
    arrays = weights(config, "float16")
    report, made = run(tmp_path, config, arrays, image_size=64, dtype="float32")
    assert [step[:10] for step in report.steps] == ["cast_float", "image_size"]
    exact = resample_positions(arrays["pos_embed"], (6, 2), (8, 4), "bicubic_aa")
    assert np.array_equal(made["pos_embed"], exact.astype(np.float32))
    assert not np.array_equal(made["pos_embed"], exact.astype(np.float16))
    report, made = run(tmp_path, config, image_size=64, dtype="float16")
    assert [step[:10] for step in report.steps] == ["image_size", "cast_float"]


# ---- every way to ask ---------------------------------------------------------------


def test_from_pretrained_gives_the_same_model(tmp_path):
    torch = pytest.importorskip("torch")
    import torch_vit

    config = ViTConfig(**FLAT)
    report, made = run(tmp_path, config, image_size=(64, 48))
    model = torch_vit.ViT.from_pretrained(
        tmp_path / "source.safetensors", image_size=(64, 48)
    )
    assert model.config == report.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, torch.from_numpy(made[name]))


def test_keras_file_is_proved_like_any_other(tmp_path):
    config = CASES["vit"]
    source = write(tmp_path / "a.safetensors", config)
    report = convert(
        source, tmp_path / "b.keras", image_size=(64, 48), verify="weights"
    )
    assert report.ok and report.proved == len(weights(config))
    again, _ = run(tmp_path, config, image_size=(64, 48))
    assert report.fingerprint == again.fingerprint


@pytest.mark.parametrize(
    "options", [{"output": "pooled"}, {"image_size": 96}, {"dtype": "float16"}]
)
def test_progress_ends_at_the_total(options, tmp_path):
    source = write(tmp_path / "a.safetensors", CASES["vit"])
    seen = []
    convert(
        source,
        tmp_path / "b.safetensors",
        progress=lambda *state: seen.append(state),
        **options,
    )
    done, total = seen[-1]
    assert done == total
