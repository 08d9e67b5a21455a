"""What a user reads when something is wrong, or right."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from converters import convert
from converters.errors import ConversionError, Issue, fold, printable
from converters.reports.phases import Phases
from tests.converters.cases import CASES, weights, write_canonical


def missing(i, expected="(24,)", near=""):
    return Issue("missing", f"blocks.{i}.ls1.gamma", expected=expected, near=near)


def test_equal_problems_of_blocks_share_a_line():
    lines = fold([missing(i) for i in (0, 1, 2, 5)])
    assert lines == ["missing     blocks.{0-2,5}.ls1.gamma  expected (24,)"]


def test_different_details_are_never_folded():
    lines = fold([missing(0), missing(1, "(48,)"), missing(2)])
    assert len(lines) == 2
    assert "blocks.{0,2}.ls1.gamma  expected (24,)" in lines[0]
    assert "blocks.1.ls1.gamma  expected (48,)" in lines[1]


def test_similar_names_fold_only_when_their_block_is_the_same():
    same = [missing(i, near=f"blocks.{i}.gamma_1") for i in (0, 1)]
    assert fold(same)[0].endswith('(similar: "blocks.{0-1}.gamma_1")')
    crossed = [missing(i, near="blocks.0.gamma_1") for i in (0, 1)]
    assert len(fold(crossed)) == 2


def test_keras_paths_fold_too():
    issues = [Issue("unexpected", f"blocks_{i}/ls1/gamma", "(24,)") for i in range(3)]
    assert fold(issues) == ["unexpected  blocks_{0-2}/ls1/gamma  (24,)"]


def test_names_cannot_steer_the_terminal():
    name = "a\x1b[31m\r\nb\x00\u202ec"
    assert printable(name).isprintable()
    text = str(ConversionError([Issue("unexpected", name, name, near=name)], file=name))
    assert "\x1b" not in text and "\r" not in text and "\u202e" not in text


def test_error_fits_on_a_screen():
    issues = [
        Issue("missing", f"layer{i}.weight", expected="(1,)") for i in range(9999)
    ]
    text = str(ConversionError(issues, file="x", causes=["a", "b", "c"]))
    assert len(text.splitlines()) <= 20
    assert "9999 problems" in text and "and 9985 more" in text


def test_every_kind_of_problem_is_shown():
    issues = [Issue("missing", f"layer{i}.weight") for i in range(50)]
    issues += [Issue("unexpected", f"other{i}.weight") for i in range(50)]
    issues += [Issue("value", "head.bias", "1 NaN")]
    text = str(ConversionError(issues))
    assert all(word in text for word in ("layer0", "other0", "head.bias  1 NaN"))
    assert len(text.splitlines()) <= 20


def test_error_as_json_has_every_problem():
    error = ConversionError([missing(i) for i in range(99)], file="/secret/x.keras")
    found = json.loads(error.to_json())
    assert len(found["issues"]) == 99 and found["ok"] is False
    assert found["file"] == "x.keras"


RENDERED = """\
vit.safetensors (canonical): 7 problems, nothing written
  missing     blocks.{0-1}.ls1.gamma  expected (24,)  (similar: "blocks.{0-1}.ls.gamma")
  unexpected  blocks.{0-1}.ls.gamma  (24,)  (similar: "blocks.{0-1}.ls1.gamma")
  shape       pos_embed  found (1, 8, 24);  expected (1, 7, 24)
  dtype       norm.bias  found int32;  expected float32 or float16 or bfloat16
  value       head.bias  1 NaN and 1 infinite of 5 values
Likely cause: the position table of the file has 8 rows; img_size=(12, 8) and \
pos_embed_tokens='all' make 7 (1 + 3x2)"""


def test_rendered_error(tmp_path):
    import numpy as np

    config = CASES["classes"].replace(init_values=0.1)
    arrays = weights(config)
    for i in range(2):
        arrays[f"blocks.{i}.ls.gamma"] = arrays.pop(f"blocks.{i}.ls1.gamma")
    arrays["pos_embed"] = np.ones((1, 8, 24), np.float32)
    arrays["norm.bias"] = np.ones(24, np.int32)
    arrays["head.bias"][:2] = np.nan, np.inf
    path = write_canonical(tmp_path / "vit.safetensors", config, arrays)
    with pytest.raises(ConversionError) as error:
        convert(path, tmp_path / "out.keras")
    assert str(error.value) == RENDERED


def test_report_says_what_was_proved_and_names_no_folder(tmp_path):
    path = write_canonical(tmp_path / "a.safetensors", CASES["classes"])
    report = convert(path, tmp_path / "b.keras")
    assert report.ok and report.proved == report.tensors == len(weights(report.config))
    assert str(tmp_path) not in report.to_json() + str(report) + report._repr_html_()
    assert json.loads(report.to_json())["fingerprint"] == report.fingerprint
    assert f"{report.proved} of {report.tensors} tensors bit-identical" in str(report)
    assert "<table>" in report._repr_html_()


def test_written_is_the_writing_alone(tmp_path):
    """Seconds of the phase, bytes of the file; not the proof, not the reading."""
    path = write_canonical(tmp_path / "a.safetensors", CASES["classes"])
    report = convert(path, tmp_path / "b.safetensors")
    assert list(report.phases) == ["reading and checking", "writing", "proving"]
    assert sum(report.phases.values()) <= report.seconds
    size = report.bytes_written
    assert size == (tmp_path / "b.safetensors").stat().st_size
    slow = replace(report, phases={**report.phases, "writing": size / 2e6})
    assert f"in {size / 2e6:.2g} s, 2 MB/s" in str(slow)
    assert slow.to_dict()["phases"]["writing"] == round(size / 2e6, 3)


def test_a_phase_that_comes_again_goes_on_where_it_was():
    names, ended = [], []
    phases = Phases(names.append, lambda name, seconds: ended.append((name, seconds)))
    for name in ("reading", "writing", "reading"):
        phases(name)
        time.sleep(0.01)
    found = phases.end()
    assert names == ["reading", "writing", "reading"]
    assert list(found) == ["reading", "writing"]
    assert found["reading"] == ended[0][1] + ended[2][1] >= 0.02
    assert phases.end() == found  # nothing goes on: nothing is added


def test_phases_are_announced_as_they_begin(tmp_path):
    path = write_canonical(tmp_path / "a.safetensors", CASES["classes"])
    told = []
    report = convert(path, tmp_path / "b", on_phase=told.append)
    assert told == list(report.phases) == ["reading and checking", "writing", "proving"]
    with pytest.raises(ConversionError, match="on_phase: found 3; a function"):
        convert(path, tmp_path / "c.safetensors", on_phase=3)
