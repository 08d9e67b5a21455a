"""`verify` on the command line: files, cases, own inputs, earlier records."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from converters import ParityReport
from converters.cli.app import app
from tests.laboratory.common import FLAT, Weights, save
from vit_config import DataConfig

CONFIG = FLAT.replace(
    problem_type="single_label",
    data=DataConfig(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3)),
)


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["verify", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def other_head(weights: Weights) -> None:
    weights["head.weight"] = np.ascontiguousarray(weights["head.weight"][::-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two torch-side models, inputs and a list of cases; no Keras is needed."""
    path = tmp_path_factory.mktemp("verify")
    save(path / "a.safetensors", CONFIG)
    save(path / "same.safetensors", CONFIG)
    save(path / "other.safetensors", CONFIG, other_head)
    rng = np.random.default_rng(0)
    lines = [["path", "label"]]
    for i in range(12):
        x = rng.standard_normal((3, 16, 24)).astype(np.float32)
        np.save(path / f"patient-{i}.npy", x)
        lines.append([f"patient-{i}.npy", str(i % 7)])
    with (path / "cases.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(lines)
    return path


@pytest.fixture(scope="module")
def passed(folder: Path) -> tuple[str, ParityReport]:
    code, text = run(
        *(folder / "a.safetensors", folder / "same.safetensors"),
        *("--input", folder / "patient-0.npy"),
        *("--cases", folder / "cases.csv", "--case-rows", folder / "rows.csv"),
        *("--json", folder / "record.json", "--markdown", folder / "record.md"),
    )
    assert code == 0, text
    return text, ParityReport.from_json((folder / "record.json").read_bytes())


def test_equal_models_pass_with_own_inputs_and_cases(
    folder: Path, passed: tuple[str, ParityReport]
) -> None:
    text, report = passed
    assert "B is the same model as A" in text
    meanings = text.partition("was checked and passed:")[2].split()
    assert "weights:" in meanings
    assert "twins:" in meanings
    assert "reload:" not in meanings, "nothing was saved again"
    assert "0 of 12 decisions changed (95 % upper bound 22.1 %)" in text
    assert report.setting.inputs == 1
    assert {check.inputs for check in report.checks} >= {"noise", "own", "cases"}
    assert [row.changed for row in report.cases] == [0]
    whole = report.to_json() + (folder / "rows.csv").read_text()
    whole += (folder / "record.md").read_text()
    assert "patient" not in whole
    assert str(folder) not in whole


def test_a_record_can_be_checked_again(
    folder: Path, passed: tuple[str, ParityReport]
) -> None:
    again = (
        *(folder / "a.safetensors", folder / "same.safetensors"),
        *("--check", folder / "record.json"),
    )
    code, text = run(
        *again,
        *("--input", folder / "patient-0.npy"),
        *("--cases", folder / "cases.csv"),
    )
    assert code == 0, text
    code, text = run(*again)  # without the inputs that the record speaks of
    assert code == 1
    assert "own inputs" in text


def test_another_model_does_not_pass_as_the_recorded_one(
    folder: Path, passed: tuple[str, ParityReport]
) -> None:
    code, text = run(
        *(folder / "a.safetensors", folder / "other.safetensors"),
        *("--check", folder / "record.json"),
        *("--input", folder / "patient-0.npy"),
        *("--cases", folder / "cases.csv", "--json", folder / "again.json"),
    )
    assert code == 1
    found = ParityReport.from_json((folder / "again.json").read_bytes())
    failed = {check.name for check in found.failed}
    assert failed >= {"fingerprint of B", "verdicts", "decisions", "tensors", "logits"}
    assert not failed & {"fingerprint of A", "architecture of B"}
    assert "was checked and passed" not in text
    assert "head.weight" in text
    assert "decisions changed" in text


def test_nothing_is_written_or_run_where_a_target_exists(folder: Path) -> None:
    (folder / "taken.json").write_text("mine")
    code, text = run(
        *(folder / "a.safetensors", folder / "same.safetensors"),
        *("--json", folder / "taken.json"),
    )
    assert code == 1
    assert "taken.json" in text
    assert (folder / "taken.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--threshold", "0.5"), "--threshold is for --cases"),
        (("--case-rows", "rows.csv"), "--case-rows is for --cases"),
        (("--level", "weights", "--input", "x.npy"), "--level weights runs no model"),
        (("--input", "nothing.npy"), "nothing.npy"),
        (("--cases", "nothing.csv"), "nothing.csv"),
        (("--check", "nothing.json"), "nothing.json"),
        (("--json", "-", "--markdown", "-"), "only one of --json and --markdown"),
        (("--report", "-"), "need a file"),
        (("--json", "x.out", "--markdown", "x.out"), "same file"),
        (("--backend", "theano"), "known are tensorflow"),
    ],
)
def test_wrong_usage_is_refused_with_its_reason(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    code, text = run("a.safetensors", "same.safetensors", *words)
    assert code == 1, text
    assert message in " ".join(text.split())
    assert sorted(folder.iterdir()) == before


def test_weights_alone_print_a_record(folder: Path) -> None:
    code, text = run(
        *(folder / "a.safetensors", folder / "other.safetensors"),
        *("--level", "weights", "--json", "-"),
    )
    assert code == 1
    found = json.loads(text)
    assert found["verdict"] == "failed"
    assert found["divergences"][0]["tensors"] == ["head.weight"]
