"""Sizes and layouts: what a file leaves open follows from the rest, or is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from converters.conversion.convert import convert
from converters.errors import ConversionError
from converters.files.safetensors_file import write_safetensors
from converters.libraries import NAMES, load
from converters.libraries.writing import target_variant
from converters.mapping.pipe import MemorySource
from tests.dialects.common import monai_config, monai_file, same
from tests.dialects.test_variants import PAIRS
from tests.fill import fill_weights
from vit_config import ConfigError, ViTConfig

PLANE = {"img_size": 24, "patch_size": 8}
VOLUME = {"img_size": [16, 8, 16], "patch_size": 4}


# ---- axes -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["img_size", "patch_size"])
def test_three_axes_mean_a_volume(name: str) -> None:
    base = {"embed_dim": 24, "depth": 1, "num_heads": 3, "mlp_dim": 36}
    sizes = {"img_size": 16, "patch_size": 8, name: (8, 16, 8)}
    if name == "patch_size":
        sizes["img_size"] = 16
    config = ViTConfig(**base, **sizes)
    assert config.spatial_dims == len(config.img_size) == len(config.patch_size) == 3
    with pytest.raises(ConfigError, match="3 axes; spatial_dims=2 needs 2"):
        ViTConfig(**base, **sizes, spatial_dims=2)


@pytest.mark.parametrize(
    ("dims", "sizes"), [(2, PLANE), (3, VOLUME), (3, {"img_size": 8, "patch_size": 4})]
)
def test_axes_of_flattened_patches_follow_from_sizes_and_positions(
    tmp_path: Path, dims: int, sizes: dict[str, Any]
) -> None:
    config = monai_config(dims, in_channels=4, **sizes)
    path = monai_file(tmp_path / "m.safetensors", config, perceptron=True)
    out = tmp_path / "out.safetensors"
    report = convert(path, out, changes={"num_heads": 3, **sizes})
    assert report.config.architecture() == config.architecture()
    assert same(load_file(out), fill_weights(config))


def test_axes_that_nothing_tells_are_asked_for(tmp_path: Path) -> None:
    config = monai_config(2, in_channels=4, img_size=4, patch_size=4)
    path = monai_file(tmp_path / "m.safetensors", config, perceptron=True)
    changes = {"num_heads": 3, "img_size": 4, "patch_size": 4}
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConversionError, match="spatial_dims: 2 or 3"):
        convert(path, out, changes=changes)
    assert not out.exists()
    report = convert(path, out, changes={**changes, "spatial_dims": 2})
    assert report.config.in_chans == 4


# ---- images that patches do not fill ----------------------------------------------


def test_advice_on_a_remainder_is_the_model_that_monai_computes(tmp_path: Path) -> None:
    config = monai_config(2, img_size=(24, 16), patch_size=8, num_classes=3)
    path = monai_file(tmp_path / "m.safetensors", config)
    out = tmp_path / "out.safetensors"
    changes = {"num_heads": 3, "img_size": (29, 23)}
    with pytest.raises(ConversionError, match="MONAI leaves out") as caught:
        convert(path, out, changes=changes)
    assert not out.exists()
    assert 'changes={"img_size": [24, 16]} is the same model' in caught.value.hint
    report = convert(path, out, changes={**changes, "img_size": [24, 16]})
    assert report.config.architecture() == config.architecture()


def test_size_of_other_positions_is_not_proposed(tmp_path: Path) -> None:
    config = monai_config(2, img_size=(24, 16), patch_size=8)
    path = monai_file(tmp_path / "m.safetensors", config)
    with pytest.raises(ConversionError) as caught:
        convert(path, tmp_path / "o.keras", changes={"num_heads": 3, "img_size": 50})
    assert "changes" not in caught.value.hint
    assert "6 rows of positions; 48 x 48 is 36" in caught.value.hint


def test_monai_arguments_leave_the_remainder_out_as_monai_does() -> None:
    found = monai_config(2, img_size=(29, 23), patch_size=8)
    assert found.img_size == (24, 16)
    assert found.source is not None
    assert found.source.steps == ("crop_input:29x23->24x16",)
    with pytest.raises(ConfigError, match="perceptron needs a multiple"):
        monai_config(2, img_size=(29, 23), patch_size=8, proj_type="perceptron")


# ---- layouts ----------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "config"), PAIRS)
def test_names_come_back_as_they_were(variant: Any, config: ViTConfig) -> None:
    """By the dialect's name, by the variant's, and by its release."""
    came = config.replace(source={"dialect": variant.name})
    name, _, release = variant.name.partition("@")
    specs = {name, variant.name}
    number = release.partition("+")[0]
    if number.replace(".", "").isdecimal():
        specs |= {f"{name}@{number}", f"{name}@{number}.1"}
    for spec in specs:
        assert target_variant(spec, came).name == variant.name, spec


@pytest.mark.parametrize("perceptron", [False, True])
@pytest.mark.parametrize("release", ["1.3", "1.6"])
def test_release_keeps_the_layout_of_the_source(
    tmp_path: Path, release: str, perceptron: bool
) -> None:
    config = monai_config(3)
    path = monai_file(tmp_path / "m.safetensors", config, "1.4", perceptron)
    convert(path, tmp_path / "m.keras", config=config, verify="weights")
    out = tmp_path / "out.safetensors"
    convert(tmp_path / "m.keras", out, to_dialect=f"monai@{release}")
    flat = "patch_embedding.patch_embeddings.1.weight"
    assert (flat in load_file(out)) == perceptron
    for layout, there in (("+conv", False), ("+perceptron", True)):
        to = f"monai@{release}{layout}"
        convert(tmp_path / "m.keras", out, to_dialect=to, force=True)
        assert (flat in load_file(out)) == there


def test_every_layout_can_be_named() -> None:
    for name in NAMES:
        dialect = load(name)
        for variant in dialect.variants:
            assert variant in dialect.matching(variant.name)
    plain = [v.name for v in load("monai").matching("monai@1.5+conv")]
    assert plain == ["monai@1.4"]


# ---- what timm loads --------------------------------------------------------------

GATED = ViTConfig(
    img_size=16,
    patch_size=8,
    embed_dim=24,
    depth=2,
    num_heads=3,
    mlp_dim=20,
    mlp_layer="swiglu",
    act_layer="silu",
    source={"dialect": "timm@swiglu"},
)


def gated_file(path: Path) -> Path:
    write_safetensors(path, MemorySource(fill_weights(GATED)), GATED)
    return path


def test_folder_for_timm_is_one_file(tmp_path: Path) -> None:
    source = gated_file(tmp_path / "x.safetensors")
    options: dict[str, Any] = {"to_dialect": "timm"}
    with pytest.raises(ConversionError, match="leave max_shard_size= out"):
        convert(source, tmp_path / "out", max_shard_size="9KB", **options)
    assert not (tmp_path / "out").exists()
    report = convert(source, tmp_path / "out", max_shard_size="1GB", **options)
    assert report.files == ("config.json", "model.safetensors")


def test_folder_for_timm_has_the_names_that_its_config_builds(tmp_path: Path) -> None:
    source = gated_file(tmp_path / "x.safetensors")
    convert(source, tmp_path / "out", to_dialect="timm")
    names = set(load_file(tmp_path / "out" / "model.safetensors"))
    assert "blocks.0.mlp.fc1.weight" in names
    assert not any("fc1_g" in name for name in names)
    with pytest.raises(ConversionError, match="gate and value apart"):
        convert(source, tmp_path / "two", to_dialect="timm@swiglu")
    convert(source, tmp_path / "two.safetensors", to_dialect="timm")
    split = load_file(tmp_path / "two.safetensors")
    parts = (split[f"blocks.1.mlp.fc1_{part}.weight"] for part in "gx")
    wanted = fill_weights(GATED)["blocks.1.mlp.fc1.weight"]
    np.testing.assert_array_equal(np.concatenate(list(parts)), wanted)
