"""Configs that contradict themselves or their weights: refused, or said in a remark."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from converters.checks.inspection import inspect
from converters.conversion.convert import convert
from tests.dialects.common import same
from tests.dialects.test_model_class import folder as huggingface_folder
from tests.dialects.test_timm_code import folder as timm_folder
from vit_config import ConfigError, ViTConfig

Fields = dict[str, Any]
NAMES = {str(i): name for i, name in enumerate("abcde")}
NUMBERS = {name: i for i, name in enumerate("abcde")}
DATA: Fields = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 8, "width": 8},
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.3, 0.4],
}


def classifier(where: Path, data: Fields | None = None, **fields: Any) -> Path:
    name = "ViTForImageClassification"
    path, _ = huggingface_folder(where, name, [name], **fields)
    if data is not None:
        text = json.dumps({**DATA, **data})
        (path / "preprocessor_config.json").write_text(text)
    return path


# ---- labels -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"label2id": {**NUMBERS, "a": 1, "b": 0}},
            "'a' is 1, but in id2label 1 is 'b'",
        ),
        ({"label2id": {"f": 5}}, "'f' is 5, but in id2label 5 is None"),
        ({"label2id": {"a": "x"}}, "but in id2label x is None"),
        (
            {"id2label": {"1": "a", "2": "b", "3": "c", "4": "d", "5": "e"}},
            "a name for",
        ),
        ({"id2label": {"0": "a", "2": "b"}}, "a name for each of 0, 1, 2"),
    ],
)
def test_labels_at_odds_are_refused_and_can_be_left_out(
    tmp_path: Path, fields: Fields, text: str
) -> None:
    source = classifier(tmp_path, **{"id2label": NAMES, **fields})
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConfigError, match=text) as caught:
        convert(source, out)
    assert not out.exists()
    assert "labels=None leaves the names out" in str(caught.value)
    if len(fields.get("id2label", NAMES)) != 5:
        return  # and then another number of classes is said than there are
    report = convert(source, out, changes={"labels": None})
    assert report.config.labels is None and report.config.num_classes == 5


@pytest.mark.parametrize(
    "numbers",
    [
        NUMBERS,
        {name: str(number) for name, number in NUMBERS.items()},
        {"b": 1},
        {f"LABEL_{i}": i for i in range(5)},
        {"LABEL_0": 0, "LABEL_1": 1},
        None,
    ],
)
def test_labels_that_agree_or_are_nobodys_are_taken(
    tmp_path: Path, numbers: Any
) -> None:
    source = classifier(tmp_path, id2label=NAMES, label2id=numbers)
    report = convert(source, tmp_path / "out.safetensors")
    assert report.config.labels == tuple("abcde")


# ---- preprocessing ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"image_std": [0.2, -0.3, 0.4]}, "image_std: found"),
        ({"image_std": 0}, "image_std: found"),
        ({"image_mean": [0.4, 1.5, 0.6]}, "image_mean: found"),
        ({"image_mean": [-0.1, 0.5, 0.6]}, "of values from 0 to 1"),
        ({"image_mean": [123.7, 116.3, 103.5]}, "image_mean: found"),
        ({"do_rescale": False, "image_mean": [300, 1, 1]}, "of values from 0 to 255"),
    ],
)
def test_statistics_of_no_image_are_refused_and_can_be_left_out(
    tmp_path: Path, data: Fields, text: str
) -> None:
    source = classifier(tmp_path, data)
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConfigError, match=text) as caught:
        convert(source, out)
    assert not out.exists()
    assert "data=None leaves the preprocessing out" in str(caught.value)
    assert convert(source, out, changes={"data": None}).config.data is None


@pytest.mark.parametrize(
    ("data", "mean", "values"),
    [
        ({}, (0.4, 0.5, 0.6), (0.0, 1.0)),
        ({"image_mean": [0, 0, 1], "image_std": 1}, (0.0, 0.0, 1.0), (0.0, 1.0)),
        ({"do_normalize": False, "image_std": 0}, (0.0, 0.0, 0.0), (0.0, 1.0)),
        (
            {"do_rescale": False, "image_mean": [124, 116, 104], "image_std": 58},
            (124.0, 116.0, 104.0),
            (0.0, 255.0),
        ),
        ({"do_rescale": False, "do_normalize": False}, (0.0, 0.0, 0.0), (0.0, 255.0)),
    ],
)
def test_statistics_of_images_are_taken(
    tmp_path: Path, data: Fields, mean: tuple[float, ...], values: tuple[float, ...]
) -> None:
    source = classifier(tmp_path, data)
    found = convert(source, tmp_path / "out.safetensors").config.data
    assert found is not None and (found.mean, found.input_range) == (mean, values)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("std", [0.2, -0.2, 0.2], "each above 0"),
        ("mean", [1.5, 0.5, 0.5], "of values from 0 to 1"),
        ("mean", [-0.5, 0.5, 0.5], "of values from 0 to 1"),
        ("crop_pct", 1.2, "crop_pct"),
        ("interpolation", "random", "interpolation"),
    ],
)
def test_preprocessing_of_timm_that_cannot_be_is_refused(
    tmp_path: Path, field: str, value: Any, text: str
) -> None:
    source = timm_folder(tmp_path / "hub", act_layer="silu")
    path = source / "config.json"
    fields = json.loads(path.read_text())
    fields["pretrained_cfg"][field] = value
    path.write_text(json.dumps(fields))
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConfigError, match=text) as caught:
        convert(source, out)
    assert "data=None leaves the preprocessing out" in str(caught.value)
    assert convert(source, out, changes={"data": None}).config.data is None


def test_mean_of_a_volume_may_be_of_any_unit() -> None:
    sizes: Fields = {"img_size": (8, 8, 8), "patch_size": 4, "in_chans": 1}
    widths: Fields = {"embed_dim": 12, "depth": 1, "num_heads": 3, "mlp_dim": 12}
    data = {"mean": [-300.0], "std": [400.0], "input_range": [0.0, 1.0]}
    assert ViTConfig(**sizes, **widths, data=data).data is not None


# ---- remarks ----------------------------------------------------------------------


def said(source: Path, tmp_path: Path) -> str:
    """The last remark, which report, its text and its JSON, and inspection have."""
    report = convert(source, tmp_path / "said.safetensors", force=True)
    remark = report.remarks[-1]
    inspection = inspect(source)
    assert inspection.remarks == report.remarks
    for found in (report, inspection):
        assert remark in str(found) and remark in found.to_dict()["remarks"]
    return remark


@pytest.mark.parametrize(
    "data", [{"size": 16}, {"do_center_crop": True, "size": 9, "crop_size": 16}]
)
def test_images_of_another_size_than_the_models_are_said(
    tmp_path: Path, data: Fields
) -> None:
    if "crop_size" in data:
        data = {**data, "size": 32}
    source = classifier(tmp_path, data)
    remark = said(source, tmp_path)
    assert "makes images of 16 x 16, the model takes 8 x 8" in remark


def test_statistics_of_images_that_nobody_rescales_are_said(tmp_path: Path) -> None:
    source = classifier(tmp_path, {"do_rescale": False})
    assert "rescales nothing (do_rescale)" in said(source, tmp_path)


def test_labels_of_timm_that_are_too_few_can_be_left_out(tmp_path: Path) -> None:
    source = timm_folder(tmp_path / "hub", act_layer="silu")
    path = source / "config.json"
    fields = {**json.loads(path.read_text()), "label_names": ["a", "b"]}
    path.write_text(json.dumps(fields))
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConfigError, match="2 names for num_classes=3; labels=None"):
        convert(source, out)
    assert convert(source, out, changes={"labels": None}).config.labels is None


def test_images_of_another_size_than_timms_model_are_said(tmp_path: Path) -> None:
    source = timm_folder(tmp_path / "hub", act_layer="silu")
    path = source / "config.json"
    fields = json.loads(path.read_text())
    fields["pretrained_cfg"] |= {"input_size": [3, 96, 64]}
    path.write_text(json.dumps(fields))
    remark = said(source, tmp_path)
    assert "says images of 96 x 64, the model takes 48 x 32" in remark


@pytest.mark.parametrize("wrong", [1, "many", 2**40])
def test_index_that_counts_other_bytes_is_said(tmp_path: Path, wrong: Any) -> None:
    source = classifier(tmp_path)
    shards = tmp_path / "shards"
    convert(source, shards, to_dialect="huggingface", max_shard_size="20KB")
    path = shards / "model.safetensors.index.json"
    assert convert(shards, tmp_path / "ok.safetensors").remarks == ()
    index = json.loads(path.read_text())
    index["metadata"]["total_size"] = wrong
    path.write_text(json.dumps(index))
    assert f"total_size {wrong}, its shards hold" in said(shards, tmp_path)


def _zipped(source: Path, metadata: str) -> None:
    with zipfile.ZipFile(source) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(source, "w") as archive:
        for info, content in members:
            text = metadata.encode() if info.filename == "metadata.json" else content
            archive.writestr(info.filename, text)


def _plain(source: Path, metadata: str) -> None:
    (source / "metadata.json").write_text(metadata)


@pytest.mark.parametrize(
    ("target", "to", "put"),
    [
        ("m.keras", None, _zipped),
        ("folder", "keras", _plain),
        ("preset", "keras_hub", _plain),
    ],
)
def test_newer_keras_is_said(
    tmp_path: Path, target: str, to: str | None, put: Callable[[Path, str], None]
) -> None:
    source = classifier(tmp_path, hidden_act="gelu")
    made = tmp_path / target
    convert(source, made, to_dialect=to, verify="weights")
    for version in ("3.15.9", "3.3.0", "", "nightly"):
        put(made, json.dumps({"keras_version": version}))
        assert convert(made, tmp_path / "o.safetensors", force=True).remarks == ()
    for version in ("3.16.0", "4.0", "10.1.2.dev3"):
        put(made, json.dumps({"keras_version": version}))
        assert f"Keras {version} wrote it" in said(made, tmp_path)
    assert same(
        load_file(tmp_path / "said.safetensors"), load_file(tmp_path / "o.safetensors")
    )


def test_folder_without_anything_odd_has_no_remark(tmp_path: Path) -> None:
    source = classifier(tmp_path, {}, id2label=NAMES, label2id=NUMBERS)
    assert convert(source, tmp_path / "out.safetensors").remarks == ()
