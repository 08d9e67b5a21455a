"""Preprocessing inside: what is refused, and what a report and `inspect` say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from converters import ConversionError, convert, inspect
from converters.checks.audit import audit, preprocessing, takes
from converters.files import Raw
from tests.converters.cases import CASES, pipeline_config, write_canonical
from tests.pages import call
from vit_config import ConfigError

CONFIG = CASES["classes"]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_canonical(tmp_path / "plain.safetensors", CONFIG)


@pytest.fixture
def stated(tmp_path: Path) -> Path:
    return write_canonical(tmp_path / "stated.safetensors", pipeline_config())


def test_a_model_that_does_not_say_its_preprocessing_is_not_guessed(plain, tmp_path):
    target = tmp_path / "x.keras"
    with pytest.raises(ConfigError, match=r"state data\.mean, data\.std"):
        convert(plain, target, with_preprocessing=True, verify="weights")
    changes = {"data.mean": [0.5] * CONFIG.in_chans, "data.crop_mode": "squash"}
    with pytest.raises(ConfigError) as error:
        convert(
            plain, target, with_preprocessing=True, verify="weights", changes=changes
        )
    missing = {line.partition(":")[0] for line in error.value.problems}
    assert missing == {
        *("data.std", "data.input_range", "data.interpolation", "data.crop_pct")
    }
    assert not target.exists()


@pytest.mark.parametrize(
    ("target", "options", "text"),
    [
        ("x.safetensors", {"with_preprocessing": True}, "ends in .keras"),
        ("x.weights.h5", {"with_preprocessing": True}, "holds weights"),
        ("x.keras", {"white": 1.0}, "white= is for with_preprocessing="),
        ("x.keras", {"with_preprocessing": True, "white": 2.0}, "1.0 or 255.0"),
        ("x.keras", {"with_preprocessing": "no"}, "True or False"),
    ],
)
def test_what_a_target_cannot_hold_is_refused(stated, tmp_path, target, options, text):
    with pytest.raises(ConversionError, match=text):
        convert(stated, tmp_path / target, verify="weights", **options)
    assert not (tmp_path / target).exists()


def test_single_fields_of_the_preprocessing_are_set(stated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "x.keras"
    line = "convert stated.safetensors x.keras --verify weights --with-preprocessing"
    result = call(f"{line} --set data.crop_pct=0.5")
    assert result.exit_code == 0, result.output
    wanted = pipeline_config().replace(**{"data.crop_pct": 0.5})
    assert inspect(target).config.replace(source=None) == wanted
    assert "uint8" in result.output and "crop_pct 0.5" in result.output
    # The file's own config is no longer left as it was without a word.
    found = inspect(target, changes={"data.crop_mode": "squash"}).config
    assert found.replace(source=None) == wanted.replace(**{"data.crop_mode": "squash"})
    with pytest.raises(ConversionError, match="depth"):
        inspect(target, changes={"depth": CONFIG.depth + 1})
    with pytest.raises(ConfigError, match=r"data\.crop: not a field of data; did"):
        inspect(target, changes={"data.crop": 1})
    with pytest.raises(ConfigError, match="depth has no fields"):
        inspect(target, changes={"depth.x": 1})


@pytest.mark.parametrize("suffix", [".safetensors", ".keras"])
def test_what_outputs_mean_is_said_later_but_not_otherwise(plain, tmp_path, suffix):
    source, target = plain, tmp_path / f"x{suffix}"
    if suffix == ".keras":
        source = tmp_path / "first.keras"
        convert(plain, source, verify="weights")
    said = {"problem_type": "single_label"}
    convert(source, target, verify="weights", changes=said)
    assert inspect(target).config.replace(source=None) == CONFIG.replace(**said)
    with pytest.raises(ConversionError, match="problem_type"):
        inspect(target, changes={"problem_type": "multi_label"})


def test_another_model_inside_is_refused(stated, tmp_path):
    convert(
        stated,
        tmp_path / "x",
        to_dialect="keras",
        verify="weights",
        with_preprocessing=True,
    )
    path = tmp_path / "x" / "config.json"
    saved = json.loads(path.read_text())
    saved["config"]["white"] = 0.5
    path.write_text(json.dumps(saved))
    with pytest.raises(ConversionError, match=r"white is 0\.5"):
        inspect(tmp_path / "x")
    saved["config"] = {"white": None, "vit": None}
    path.write_text(json.dumps(saved))
    with pytest.raises(ConversionError, match="holds no ViT config"):
        inspect(tmp_path / "x")


def test_the_audit_names_what_is_not_known():
    rows = dict(audit(CONFIG))
    assert "NOT STATED" in rows["data"]
    assert "UNKNOWN" in rows["provenance"]
    assert "no probabilities" in rows["outputs"]
    assert rows["labels"] == "not stated"
    told = CONFIG.replace(
        problem_type="single_label",
        labels=[f"class {i}" for i in range(CONFIG.num_classes)],
        source={
            "name": "somebody/some-vit",
            "revision": "abc",
            "sha256": "1" * 64,
            "library": "timm",
            "library_version": "1.0.31",
            "licence": "mit",
            "pretraining_data": "LVD-142M",
            "steps": ["cast_bfloat16"],
        },
    )
    rows = dict(audit(told))
    assert "provenance" not in rows
    assert rows["step taken"] == "cast_bfloat16"
    assert rows["labels"].startswith("class 0, class 1")
    assert rows["outputs"] == f"{CONFIG.num_classes}, single_label"
    for word in ("some-vit at abc", "1" * 64, "timm 1.0.31", "mit", "LVD-142M"):
        assert word in rows["origin"]


def test_a_partly_stated_preprocessing_is_not_enough():
    config = pipeline_config()
    assert "NOT STATED" not in preprocessing(config)
    lacking = config.replace(**{"data.std": None})
    assert preprocessing(lacking).endswith("NOT STATED or not done here: data.std")


def test_what_a_model_takes_is_said_in_words():
    config = pipeline_config()
    assert takes(config, Raw(None)).endswith("uint8")
    assert "white 1" in takes(config, Raw(1.0))
    size = ", ".join(map(str, config.img_size))
    assert f"(B, {size}, {config.in_chans})" in takes(config, None)
