"""Limits from a file: what is wrong with them is said in this package's own words."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from converters import ConversionError
from converters.cli.app import app
from converters.judging.criteria import EXPECTED, Criteria, read_criteria

WRONG: list[tuple[str, Any]] = [
    ("weights", "bit"),
    ("weights", None),
    ("rms_ratio", 0),
    ("max_ratio", "2"),
    ("layer_ratio", None),
    ("gradient_ratio", math.inf),
    ("training_ratio", math.nan),
    ("same_bits_on_torch", 1),
    ("max_kl", -1e-9),
    ("min_top1", 1.01),
    ("min_top5", -0.1),
    ("max_changed", 1.5),
    ("max_changed", -1),
    ("max_changed_bound", [0.5]),
]
RIGHT: dict[str, Any] = {
    "weights": "rounded",
    "rms_ratio": 3,
    "max_ratio": 4.5,
    "layer_ratio": 1e-3,
    "gradient_ratio": 2.0,
    "training_ratio": 9,
    "same_bits_on_torch": False,
    "max_kl": 1e-6,
    "min_top1": 1,
    "min_top5": 0.5,
    "max_changed": 3,
    "max_changed_bound": 0,
}


def refused(source: Any) -> str:
    with pytest.raises(ConversionError) as error:
        read_criteria(source)
    return str(error.value)


def test_every_limit_has_its_words_and_its_wrong_value() -> None:
    assert EXPECTED.keys() == Criteria.model_fields.keys() == RIGHT.keys()
    assert {name for name, _ in WRONG} == EXPECTED.keys()


def test_a_file_of_all_limits_is_read(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    path.write_text(json.dumps(RIGHT))
    found, digest = read_criteria(path)
    assert found.model_dump() == RIGHT
    assert len(digest) == 64
    assert read_criteria(RIGHT) == (found, "")
    assert found != Criteria()


@pytest.mark.parametrize(("name", "value"), WRONG)
@pytest.mark.parametrize("as_file", [True, False])
def test_a_wrong_limit_is_named_with_what_it_may_be(
    tmp_path: Path, name: str, value: Any, as_file: bool
) -> None:
    given: Any = RIGHT | {name: value}
    with pytest.raises(ValidationError) as theirs:
        Criteria.model_validate(given)
    if as_file:
        (tmp_path / "limits.json").write_text(json.dumps(given))
        given = tmp_path / "limits.json"
    text = refused(given)
    assert f"{name}  found {json.dumps(value)};  expected {EXPECTED[name]}" in text
    assert text.count("expected") == 1
    for one in theirs.value.errors():
        assert one["msg"] not in text


def test_unknown_limits_are_named_with_the_known_ones() -> None:
    text = refused({"rms_ratoi": 2.0, "kl": 1, "min_top1": 2})
    assert 'rms_ratoi  no such limit  (similar: "rms_ratio")' in text
    assert "kl  no such limit" in text
    assert "min_top1  found 2;" in text
    assert "3 problems" in text
    assert f"Known limits: {', '.join(Criteria.model_fields)}." in text
    assert "Extra inputs" not in text
    assert "1  no such limit" in refused({1: 2.0})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no JSON: Expecting value"),
        (b'{"rms_ratio": 2', "no JSON: Expecting ',' delimiter"),
        (b"\xff\xfe\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[1]", "found list;  expected an object of limits"),
        (b"null", "found null;  expected an object of limits"),
        (b'{"a\\u001b[2J": 1}', "no such limit"),
    ],
)
def test_what_is_no_object_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "limits.json"
    path.write_bytes(content)
    text = refused(path)
    assert text.startswith("limits.json: 1 problem")
    assert words in text
    assert "\x1b" not in text


def test_verify_speaks_of_a_verification_and_convert_of_a_conversion(
    tmp_path: Path,
) -> None:
    def run(*words: str) -> str:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == 1
        return result.output

    # Of the command line's own checks and of what is behind them.
    for option in (("--threshold", "0.5"), ("--device", "tpu"), ("--report", "-")):
        text = run("verify", "a.safetensors", "b.safetensors", *option)
        assert text.startswith("verification: 1 problem"), text
    target = str(tmp_path / "b.keras")
    text = run("convert", str(tmp_path / "a.odd"), target, "--preset", "no-such-one")
    assert "verification" not in text
    assert str(ConversionError([])).startswith("conversion: 0 problems")
