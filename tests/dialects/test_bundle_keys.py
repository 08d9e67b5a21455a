"""Transforms of a MONAI bundle count for the item that the network takes, alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converters.libraries.monai.config_bundle import read_bundle
from tests.dialects.test_bundle import (
    METADATA,
    NETWORK,
    TRANSFORMS,
    inference,
    model,
    problems,
)
from vit_config import ViTConfig

WINDOW = TRANSFORMS[4]
MINMAX = {"_target_": "ScaleIntensityd", "keys": "image"}


def kind(*transforms: dict[str, Any], **changes: Any) -> str | None:
    found = model(preprocessing=[*transforms], **changes).data
    return found.intensity.kind if found is not None and found.intensity else None


@pytest.mark.parametrize("keys", ["label", ["label", "weight"], "@label_key"])
def test_what_is_done_to_another_item_is_not_preprocessing(keys: Any) -> None:
    other = {**MINMAX, "keys": keys}
    assert kind(TRANSFORMS[0], other, label_key="label") is None
    assert kind(WINDOW, other, label_key="label") == "window"
    crop = {"_target_": "CropForegroundd", "keys": keys, "source_key": "image"}
    assert kind(WINDOW, crop, label_key="label") == "window"
    text = problems(preprocessing=[TRANSFORMS[0], {**crop, "keys": ["image", "label"]}])
    assert "(CropForeground): cannot be held" in text


def test_arguments_for_each_key_are_those_of_the_image() -> None:
    sizes = {"keys": ["label", "image"], "spatial_size": [16, 12, 20]}
    resize = {"_target_": "Resized", **sizes, "mode": ["nearest", "trilinear"]}
    found = model(preprocessing=[resize]).data
    assert found is not None and found.interpolation == "bilinear"
    assert "mode: 1 values for 2 keys" in problems(
        preprocessing=[{**resize, "mode": ["nearest"]}]
    )
    casts = {"_target_": "CastToTyped", "keys": ["image", "label"]}
    given = ["$torch.float32", "$np.uint8"]
    assert kind(MINMAX, {**casts, "dtype": given}) == "percentile"
    text = problems(preprocessing=[MINMAX, {**casts, "dtype": given[::-1]}])
    assert "(CastToType): dtype='$np.uint8' cannot be held; float32" in text


@pytest.mark.parametrize("name", ["CastToTyped", "EnsureTyped", "CastToType"])
@pytest.mark.parametrize(
    ("dtype", "held"),
    [
        *(("$np.float32", True), ("$torch.float64", True), ("float32", True)),
        *((None, True), ("@dtype", True), ("$torch.float", True)),
        *(("$np.uint8", False), ("int16", False), ("$torch.half", False)),
        *(("$np.float32 if x else np.uint8", False), ("float16", False)),
    ],
)
def test_a_cast_that_loses_values_is_refused(name: str, dtype: Any, held: bool) -> None:
    cast = {"_target_": name, "dtype": dtype, "device": "@device"}
    if name.endswith("d"):
        cast["keys"] = "image"
    changes: dict[str, Any] = {"preprocessing": [MINMAX, cast], "dtype": "$np.float32"}
    if held:
        assert model(**changes).data == model(preprocessing=[MINMAX]).data
    else:
        assert f"dtype={dtype!r} cannot be held" in problems(**changes)


def test_a_scaling_that_gives_whole_numbers_is_refused() -> None:
    assert kind({**MINMAX, "dtype": "$np.float32"}) == "percentile"
    text = problems(preprocessing=[{**MINMAX, "dtype": "$np.uint8"}])
    assert "preprocessing.0 (ScaleIntensity): dtype='$np.uint8'" in text


def test_the_network_s_item_may_have_another_name() -> None:
    scan = {**WINDOW, "keys": ["ct"]}
    assert kind(scan) == "window"
    both = inference(preprocessing=[scan, {**MINMAX, "keys": "mask"}])
    named = {"network_data_format": {"inputs": {"ct": {"num_channels": 2}}}}
    found = ViTConfig(**read_bundle(both, named)).data
    assert found is not None and found.intensity is not None
    assert found.intensity.kind == "window"
    assert read_bundle(both, METADATA)["data"] is None  # MONAI's own: "image"


@pytest.mark.parametrize(
    "into",
    [
        {"_target_": "CopyItemsd", "keys": "ct", "names": ["image"]},
        {"_target_": "ConcatItemsd", "keys": ["ct", "pet"], "name": "image"},
    ],
)
def test_an_image_made_of_other_items_is_refused(into: dict[str, Any]) -> None:
    scaled = {**MINMAX, "keys": ["ct", "pet"]}
    assert "it makes 'image' of other items" in problems(
        preprocessing=[TRANSFORMS[0], scaled, into]
    )
    away = {"_target_": "CopyItemsd", "keys": "image", "names": "raw"}
    assert kind(WINDOW, away) == "window"


def test_what_is_switched_off_or_in_code() -> None:
    assert kind(WINDOW, {**MINMAX, "_disabled_": "True"}) == "window"
    assert kind(WINDOW, {**MINMAX, "_disabled_": "@off"}, off=True) == "window"
    text = problems(preprocessing=[{**MINMAX, "_disabled_": "$not x"}])
    assert "preprocessing.0._disabled_: found '$not x': Python code" in text
    text = problems(preprocessing=[{**MINMAX, "keys": "$@a + @b"}])
    assert "preprocessing.0.keys: found '$@a + @b': Python code" in text
    text = problems(preprocessing=[{"_target_": "ScaleIntensityRanged", "a_min": 0}])
    assert "a_max must be stated" in text


def test_activations_of_another_item_say_nothing() -> None:
    def found(*keys: str, **values: Any) -> str | None:
        one = {"_target_": "Activationsd", "keys": [*keys], **values}
        other = {"_target_": "AsDiscreted", "keys": "pred"}
        return model(postprocessing=[other, one]).problem_type

    assert found("pred", sigmoid=True) == "multi_label"
    assert found("label", sigmoid=True) is None
    assert found("pred", "label", softmax=[False, True]) is None
    assert found("pred", "label", softmax=[True, False]) == "single_label"


@pytest.mark.parametrize(
    "made, meant", [("softmax", "single_label"), ("sigmoid", "multi_label")]
)
def test_activations_after_a_tanh_say_what_its_outputs_mean(made, meant) -> None:
    network = {**NETWORK, "post_activation": "Tanh"}
    one = {"_target_": "Activationsd", "keys": "pred", made: True}
    found = model(network_def=network, postprocessing=[one])
    assert (found.head_act, found.problem_type) == ("tanh", meant)
    assert model(network_def=network, postprocessing=[]).problem_type is None


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_monai_itself_leaves_other_items_and_loses_values_in_casts() -> None:
    transforms = pytest.importorskip("monai.transforms")
    scan = np.array([[-3.0, 1.5, 7.25]], np.float32)
    scaled = transforms.ScaleIntensityd(keys="label")({"image": scan, "label": scan})
    assert np.array_equal(scaled["image"], scan)
    assert not np.array_equal(scaled["label"], scan)
    unit = np.asarray(transforms.ScaleIntensity()(scan))
    assert np.array_equal(transforms.CastToType("float64")(unit), unit)
    for lossy in (np.uint8, np.float16):
        assert not np.array_equal(transforms.CastToType(lossy)(unit), unit)
