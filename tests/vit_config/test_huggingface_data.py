"""Hugging Face preprocessing: what each class does, and that nothing is passed over."""

from __future__ import annotations

from typing import Any

import pytest

from converters.libraries.huggingface.config_data import read_data
from vit_config import ConfigError, ViTConfig
from vit_config.data import DataConfig

VIT: dict[str, Any] = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.25, 0.3],
}
CROPPED = {
    **VIT,
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 256},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "resample": 3,
}


def data(given: dict[str, Any], channels: int = 3) -> DataConfig:
    return DataConfig(**read_data(given, channels))


@pytest.mark.parametrize(
    ("model_type", "expected"),
    [
        ("vit", ("squash", "bilinear", 0.5)),
        ("deit", ("squash", "bicubic", 0.5)),
        ("clip", ("center", "bicubic", 0.48145466)),
        ("dinov2", ("center", "bicubic", 0.48145466)),
        ("videomae", ("center", "bilinear", 0.5)),
    ],
)
def test_model_decides_the_class_that_a_file_does_not_name(
    model_type: str, expected: tuple[str, str, float]
) -> None:
    found = DataConfig(**read_data({"do_resize": True}, 3, model_type))
    assert found.mean is not None
    assert (found.crop_mode, found.interpolation, found.mean[0]) == expected


@pytest.mark.parametrize("deviation", [0.0, -0.25])
def test_deviation_is_above_zero(deviation: float) -> None:
    found = {"std": [0.2, deviation, 0.3]}
    with pytest.raises(ConfigError, match="values are divided by it"):
        read_data({**VIT, "image_std": found["std"]}, 3)
    sizes = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 1}
    more = {"num_heads": 3, "mlp_dim": 36, "global_pool": "token", "num_classes": 0}
    rest = {"norm_eps": 1e-6, "act_layer": "gelu"}
    with pytest.raises(ConfigError, match="values are divided by it"):
        ViTConfig(**sizes, **more, **rest, data=found)


def test_offset_is_vivits_alone() -> None:
    with pytest.raises(ConfigError, match="only ViViT's processor has it"):
        read_data({**VIT, "offset": True}, 3)


def test_squash() -> None:
    assert data(VIT) == DataConfig(
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.3),
        input_range=(0.0, 1.0),
        interpolation="bilinear",
        crop_pct=1.0,
        crop_mode="squash",
    )


def test_shortest_edge_and_crop() -> None:
    found = data(CROPPED)
    assert (found.crop_pct, found.crop_mode, found.interpolation) == (
        0.875,
        "center",
        "bicubic",
    )


def test_other_ranges() -> None:
    assert data({**VIT, "do_rescale": False}).input_range == (0.0, 255.0)
    vivit = {**VIT, "image_processor_type": "VivitImageProcessor"}
    moved = data({**vivit, "rescale_factor": 1 / 127.5, "offset": True})
    assert moved.input_range == (-1.0, 1.0)
    plain = data({**VIT, "do_normalize": False})
    assert (plain.mean, plain.std) == ((0.0,) * 3, (1.0,) * 3)


def test_files_of_old_versions_leave_the_rest_to_the_class() -> None:
    old = {
        "feature_extractor_type": "ViTFeatureExtractor",
        "do_normalize": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,
        "size": 224,
    }
    assert data(old).crop_mode == "squash"
    clip = {**old, "feature_extractor_type": "CLIPFeatureExtractor", "crop_size": 224}
    assert (data(clip).crop_mode, data(clip).crop_pct) == ("center", 1.0)
    assert data({"image_processor_type": "VivitImageProcessor"}).input_range == (-1, 1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"colour": 1}, "colour: not a field"),
        ({"image_processor_type": "SamImageProcessor"}, "image_processor_type: found"),
        ({"resample": 5}, "resample: found 5; one of 0, 1, 2, 3"),
        ({"rescale_factor": 0.5}, "rescale_factor: found 0.5"),
        ({"size": {"longest_edge": 9}}, "size: found {'longest_edge': 9}"),
        ({"size": {"shortest_edge": 256}}, "there must be a square crop"),
        ({"image_mean": [0.5, 0.5]}, "image_mean: 2 values; the model has 3"),
        ({"do_pad": True}, "do_pad: found True; only False or None"),
        ({"do_normalize": "yes"}, "do_normalize: found 'yes'; True or False"),
        (
            {"do_center_crop": True, "crop_size": {"height": 100, "width": 224}},
            "keeps another part of rows and columns",
        ),
        (
            {"do_center_crop": True, "crop_size": {"height": 256, "width": 256}},
            "a crop of 1.14 times it",
        ),
    ],
)
def test_what_cannot_be_held_is_refused_by_name(
    changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_data({**VIT, **changes}, 3)
    assert text in str(caught.value)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["ViT", "DeiT", "Bit", "CLIP", "Siglip"])
def test_images_come_out_as_the_library_prepares_them(kind: str, tmp_path: Any) -> None:
    """What the fields say, done by hand with PIL, is what the library does."""
    np = pytest.importorskip("numpy")
    transformers = pytest.importorskip("transformers", minversion="5.0")
    image = pytest.importorskip("PIL.Image")
    import json

    cls = getattr(transformers, f"{kind}ImageProcessor", None)
    if cls is None:
        pytest.skip(f"transformers has no {kind}ImageProcessor")
    processor = cls()
    processor.save_pretrained(tmp_path)
    given = json.loads((tmp_path / "preprocessor_config.json").read_text())
    found = data(given)
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (9, 7, 3), dtype=np.uint8)
    picture = image.fromarray(small).resize((350, 300), image.Resampling.BICUBIC)
    expected = processor(picture, return_tensors="np")["pixel_values"][0]
    assert found.crop_pct and found.interpolation and found.mean and found.std
    size = expected.shape[-1]
    edge = round(size / found.crop_pct)
    width, height = picture.size
    if found.crop_mode == "squash":
        target = (edge, edge)
    else:
        scale = edge / min(width, height)
        target = (int(width * scale), int(height * scale))
    how = getattr(image.Resampling, found.interpolation.upper())
    resized = np.asarray(picture.resize(target, how), np.float32) / 255
    top, left = ((side - size) // 2 for side in resized.shape[:2])
    cut = resized[top : top + size, left : left + size]
    made = ((cut - found.mean) / found.std).transpose(2, 0, 1)
    # PIL and torchvision round their filters differently: some grey levels at most.
    assert np.abs(made - expected).mean() < 0.02
    assert np.abs(made - expected).max() < 8 / 255 / min(found.std)


def test_transformers_cuts_off_half_a_pixel_before_a_crop() -> None:
    assert data(CROPPED).crop_start == "floor"
    assert data(VIT).crop_start is None  # there is no crop
