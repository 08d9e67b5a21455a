"""The class of a Hugging Face config.json: the stated one, or the one tensors show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from converters.checks.inspection import inspect
from converters.conversion.convert import convert
from converters.errors import ConversionError
from converters.files.safetensors_file import write_safetensors
from converters.libraries.huggingface.config import model_classes
from converters.mapping.pipe import MemorySource
from tests.dialects.common import same
from tests.fill import fill_weights
from vit_config import ConfigError, ViTConfig

BASE: dict[str, Any] = {
    "img_size": (8, 8),
    "patch_size": (4, 4),
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 48,
    "norm_eps": 1e-6,
}
CLIP: dict[str, Any] = {
    **BASE,
    "pre_norm": True,
    "patch_bias": False,
    "act_layer": "quick_gelu",
}
DIST: dict[str, Any] = {"dist_token": True}
SCALED: dict[str, Any] = {**BASE, "init_values": 1.0}
PATCHES: dict[str, Any] = {**BASE, "class_token": False}
CASES: dict[str, tuple[str, ViTConfig]] = {
    # model class: variant, model
    "ViTModel": ("vit-bare", ViTConfig(**BASE, global_pool="none")),
    "ViTForImageClassification": ("vit", ViTConfig(**BASE, num_classes=5)),
    "DeiTForImageClassification": ("deit", ViTConfig(**BASE, **DIST, num_classes=5)),
    "DeiTForImageClassificationWithTeacher": (
        "deit-teacher",
        ViTConfig(**BASE, **DIST, distilled=True, num_classes=5),
    ),
    "Dinov2Model": ("dinov2-bare", ViTConfig(**SCALED, global_pool="none")),
    "Dinov2ForImageClassification": (
        "dinov2",
        ViTConfig(**SCALED, global_pool="token_avg", num_classes=5),
    ),
    "CLIPVisionModel": ("clip", ViTConfig(**CLIP)),
    "CLIPVisionModelWithProjection": (
        "clip-projection",
        ViTConfig(**CLIP, num_classes=6, head_bias=False),
    ),
    "SiglipVisionModel": ("siglip", ViTConfig(**PATCHES, global_pool="map")),
    "IJepaForImageClassification": (
        "ijepa",
        ViTConfig(**PATCHES, global_pool="avg", num_classes=5),
    ),
}


def folder(
    where: Path, name: str, architectures: Any = ..., **fields: Any
) -> tuple[Path, ViTConfig]:
    """What transformers saves of a class, but with another word about the class."""
    variant, config = CASES[name]
    own = where / "own.safetensors"
    write_safetensors(own, MemorySource(fill_weights(config)), config)
    convert(own, where / "hub", to_dialect=f"huggingface@{variant}", verify="none")
    path = where / "hub" / "config.json"
    said = json.loads(path.read_text())
    assert said["architectures"] == [name]
    said |= {"architectures": architectures, **fields}
    said = {key: value for key, value in said.items() if value is not ...}
    path.write_text(json.dumps(said))
    weights = where / "hub" / "model.safetensors"
    save_file(load_file(weights), weights)  # no header of ours
    return where / "hub", config


@pytest.mark.parametrize("unsaid", [..., None, []])
@pytest.mark.parametrize("name", CASES)
def test_class_that_nobody_states_is_the_one_of_the_tensors(
    tmp_path: Path, name: str, unsaid: Any
) -> None:
    source, config = folder(tmp_path, name, unsaid)
    out = tmp_path / "out.safetensors"
    report = convert(source, out)
    assert same(load_file(out), fill_weights(config))
    wanted = config.replace(pos_resize=report.config.pos_resize)
    assert report.config.architecture() == wanted.architecture()
    (remark,) = report.remarks
    assert "names no model class" in remark and f"those of {name}" in remark
    assert remark in str(report)
    assert inspect(source).remarks == report.remarks


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("ViTForImageClassification", "ViTModel"),
        ("Dinov2ForImageClassification", "Dinov2Model"),
        ("CLIPVisionModelWithProjection", "CLIPVisionModel"),
        ("DeiTForImageClassificationWithTeacher", "DeiTModel"),
        ("IJepaForImageClassification", "IJepaModel"),
    ],
)
def test_head_that_the_stated_class_lacks_is_taken_and_said(
    tmp_path: Path, name: str, stated: str
) -> None:
    source, config = folder(tmp_path, name, [stated])
    report = convert(source, tmp_path / "out.safetensors")
    assert same(load_file(tmp_path / "out.safetensors"), fill_weights(config))
    (remark,) = report.remarks
    assert f"names ['{stated}'], the tensors are those of {name}" in remark


def test_stated_class_that_fits_is_not_remarked_upon(tmp_path: Path) -> None:
    source, _ = folder(
        tmp_path, "ViTForImageClassification", ["ViTForImageClassification"]
    )
    assert convert(source, tmp_path / "out.safetensors").remarks == ()


def _typed(hint: str) -> Mapping[str, Any]:
    """The changes that a hint spells out, as Python reads them."""
    found: dict[str, Any] = eval(hint[hint.index("{") : hint.index("}") + 1])
    return found


@pytest.mark.parametrize(
    ("name", "stated", "fields"),
    [
        ("ViTModel", "ViTForImageClassification", {"id2label": {"0": "a", "1": "b"}}),
        ("ViTModel", "ViTForImageClassification", {}),
        ("ViTForImageClassification", "ViTForImageClassification", {"num_labels": 3}),
        ("ViTForImageClassification", "ViTModel", {"num_labels": 3}),
        ("ViTForImageClassification", None, {"num_labels": 3}),
    ],
)
def test_another_head_than_the_tensors_have_is_refused_with_the_way(
    tmp_path: Path, name: str, stated: str | None, fields: dict[str, Any]
) -> None:
    more = {"id2label": ..., "label2id": ..., **fields}
    source, config = folder(tmp_path, name, stated and [stated], **more)
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConversionError, match="num_classes") as caught:
        convert(source, out)
    assert not out.exists()
    report = convert(source, out, changes=_typed(caught.value.hint))
    wanted = config.replace(pos_resize=report.config.pos_resize)
    assert report.config.architecture() == wanted.architecture()
    assert same(load_file(out), fill_weights(config))


def test_class_that_nobody_knows_is_read_where_the_caller_names_the_variant(
    tmp_path: Path,
) -> None:
    source, config = folder(tmp_path, "ViTForImageClassification", ["ViTWithMyHead"])
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConversionError, match=r"found \['ViTWithMyHead'\]") as caught:
        convert(source, out)
    assert 'from_dialect="huggingface@vit" reads it as' in caught.value.hint
    assert not out.exists()
    convert(source, out, from_dialect="huggingface@vit")
    assert same(load_file(out), fill_weights(config))


def test_config_that_is_given_is_read_by_the_tensors_too(tmp_path: Path) -> None:
    source, config = folder(tmp_path, "ViTForImageClassification", None)
    options = {"config": source / "config.json", "from_dialect": "huggingface"}
    report = convert(
        source / "model.safetensors", tmp_path / "o.safetensors", **options
    )
    assert report.config.num_classes == config.num_classes
    assert "names no model class" in report.remarks[0]


def test_classes_of_a_type_are_those_that_its_reader_knows() -> None:
    assert model_classes({"model_type": "vit"})[0] == "ViTModel"
    assert model_classes({"model_type": "clip"}) == (
        "CLIPModel",
        "CLIPForImageClassification",
    )
    assert model_classes({"model_type": "bert"}) == ()
    with pytest.raises(ConfigError, match="it decides what the model returns"):
        ViTConfig.from_dialect("huggingface", {"model_type": "vit"})


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stated", [None, ["ViTModel"]])
def test_transformers_own_model_is_of_the_class_that_is_converted(
    tmp_path: Path, stated: Any
) -> None:
    pytest.importorskip("transformers")
    from converters import verify

    source, _ = folder(tmp_path, "ViTForImageClassification", stated)
    out = tmp_path / "out.safetensors"
    convert(source, out)
    record = verify(source, out, against_source=True)
    assert record.verdict == "passed", record.sentence
    assert any(check.meaning == "source" for check in record.checks)
