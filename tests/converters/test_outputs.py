"""What `convert --verify` proves: weights, outputs in a fresh process, or nothing."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import converters
from converters import ConversionError
from converters.cli.app import app
from converters.conversion import (
    convert as conversion,
    outputs,
    verification,
    write as transfer,
)
from converters.conversion.outputs import EXACT, Part
from converters.extras import MissingExtraError
from converters.workers import process
from converters.workers.process import Answer
from converters.workers.size import inputs_for, operations
from tests.converters.cases import CASES, config, files_in, weights, write_canonical
from vit_config import ViTConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def real(monkeypatch):
    """The default as users have it, on the backend that starts fastest."""
    for name in ("torch", "keras"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    monkeypatch.setattr(conversion, "default_verify", verification.default_verify)
    monkeypatch.setenv("KERAS_BACKEND", "torch")


# ---- with both models ---------------------------------------------------------------


def test_a_keras_file_is_run_by_default(real, tmp_path):
    """In a process of its own, as a user types it; and no model runs in that one."""
    path = write_canonical(tmp_path / "a.safetensors", CASES["map"])
    code = (
        "import sys; from converters.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    assert not {'torch', 'keras', 'tensorflow'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "convert", "a.safetensors", "b.keras"]
    done = subprocess.run(
        [*command, "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] and found["verify"] == "logits"
    assert found["proved"] == found["tensors"]
    told = found["outputs"]
    assert told["backend"] == "torch" and told["keras"] and told["torch"]
    parts = {part["name"]: part for part in told["parts"]}
    assert parts.keys() == {"logits", "tokens"}
    assert (parts["logits"]["inputs"], parts["tokens"]["inputs"]) == (64, 16)
    assert all(part["judged"] and 0.2 < part["ratio"] <= 2 for part in parts.values())
    assert files_in(tmp_path) == [path.name, "b.keras"]
    assert list(found["phases"]) == [
        *("reading and checking", "writing", "proving"),
        *("loading in a fresh process", "running both models", "comparing"),
    ]


@pytest.mark.parametrize(
    "case, dtype, target",
    [
        pytest.param("distilled", "bfloat16", "b.weights.h5", marks=pytest.mark.slow),
        pytest.param("volume", "float16", "b.keras", marks=pytest.mark.slow),
        pytest.param("tokens", "float32", "b.keras", marks=pytest.mark.slow),
        pytest.param("post_sincos", "float32", "b.weights.h5", marks=pytest.mark.slow),
    ],
)
def test_other_types_and_formats(case, dtype, target, real, tmp_path):
    given = CASES[case]
    write_canonical(tmp_path / "a.safetensors", given, weights(given, dtype))
    report = converters.convert(tmp_path / "a.safetensors", tmp_path / target)
    assert report.outputs is not None and report.dtype == dtype
    for part in report.outputs.parts:
        assert part.judged and 0.2 < part.ratio <= 2, part
    assert (
        "error over noise" in str(report) and "error over noise" in report._repr_html_()
    )


def test_a_model_that_computes_something_else_is_refused(real, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "KERAS_WORKER", "tests.converters.mutant_worker")
    write_canonical(tmp_path / "a.safetensors", CASES["classes"])
    with pytest.raises(ConversionError) as error:
        converters.convert(tmp_path / "a.safetensors", tmp_path / "b.keras")
    assert {issue.name for issue in error.value.issues} == {"logits", "tokens"}
    assert "times the noise" in str(error.value)
    assert error.value.causes == ("the difference begins at blocks.0.mlp.act",)
    assert files_in(tmp_path) == ["a.safetensors"]


def test_a_process_that_fails_leaves_nothing(real, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "KERAS_WORKER", "tests.converters.no_such_worker")
    write_canonical(tmp_path / "a.safetensors", CASES["classes"])
    with pytest.raises(ConversionError, match="no_such_worker") as error:
        converters.convert(tmp_path / "a.safetensors", tmp_path / "b.keras")
    assert 'verify="weights"' in error.value.hint
    assert files_in(tmp_path) == ["a.safetensors"]


# ---- without ------------------------------------------------------------------------


@pytest.mark.parametrize("missing, extra", [("torch", "torch"), ("keras", "keras")])
def test_what_is_missing_is_said_and_nothing_less_is_done(
    missing, extra, tmp_path, monkeypatch
):
    monkeypatch.setattr(conversion, "default_verify", verification.default_verify)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    found = process.find_spec
    monkeypatch.setattr(
        process, "find_spec", lambda name: None if name == missing else found("json")
    )
    path = write_canonical(tmp_path / "a.safetensors", CASES["classes"])
    arguments = ["convert", str(path), str(tmp_path / "b.keras")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert f"{missing} is not installed: pip install 'vit-duet[{extra}]'" in (
        result.stderr
    )
    assert "--verify weights" in result.stderr
    assert files_in(tmp_path) == ["a.safetensors"]
    result = CliRunner().invoke(app, [*arguments, "--verify", "weights"])
    assert result.exit_code == 0 and "tensors bit-identical" in result.stdout
    with pytest.raises(MissingExtraError):
        converters.convert(path, tmp_path / "c.weights.h5")
    assert converters.convert(path, tmp_path / "c.safetensors").verify == "weights"


def test_nothing_is_proved_only_on_demand(tmp_path, monkeypatch):
    def never(*arguments):
        raise AssertionError("read again")

    monkeypatch.setattr(transfer, "prove", never)
    path = write_canonical(tmp_path / "a.safetensors", CASES["classes"])
    report = converters.convert(path, tmp_path / "b.keras", verify="none")
    assert report.ok and report.proved == 0 and report.outputs is None
    assert "nothing: the file was not read again" in str(report)
    monkeypatch.setattr(transfer, "written", never, raising=False)
    named = converters.convert(
        path, tmp_path / "c.safetensors", to_dialect="timm", verify="none"
    )
    assert named.ok and named.proved == 0


def test_no_other_proof_is_known(tmp_path):
    path = write_canonical(tmp_path / "a.safetensors", CASES["classes"])
    with pytest.raises(ConversionError, match="'all'; known are weights, logits, none"):
        converters.convert(path, tmp_path / "b.keras", verify="all")
    with pytest.raises(ConversionError, match="runs the Keras model"):
        converters.convert(path, tmp_path / "b.safetensors", verify="logits")
    arguments = ["convert", str(path), str(tmp_path / "b.keras"), "--verify", "all"]
    assert CliRunner().invoke(app, arguments).exit_code == 2
    assert files_in(tmp_path) == ["a.safetensors"]


def test_the_backend_has_to_be_one(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    path = write_canonical(tmp_path / "a.safetensors", CASES["classes"])
    with pytest.raises(ConversionError, match="'theano'"):
        converters.convert(path, tmp_path / "b.keras", verify="logits")


# ---- the judge ----------------------------------------------------------------------


def test_number_of_inputs_follows_the_size():
    assert inputs_for(CASES["classes"]) == 64
    base = ViTConfig.preset("vit-b16-224")
    # 17.5 thousand million multiply-adds in the literature (Touvron et al., 2021).
    assert math.isclose(operations(base) / 2, 17.5e9, rel_tol=0.02)
    assert inputs_for(base) == 4
    assert inputs_for(base.replace(img_size=1024)) == 2


def answers(given: ViTConfig, error: float) -> tuple[Answer, Answer]:
    """Keras' and torch's, the former with a relative error, the latter with 1e-7."""
    rng = np.random.default_rng(1)
    shapes = {"outputs": (8, given.num_classes), "tokens": (2, 7, 24), "head": (64, 2)}
    ours, theirs = {}, {}
    for name, shape in shapes.items():
        exact = rng.standard_normal(shape)
        noise = rng.standard_normal((2, *shape))
        ours[name] = (exact * (1 + error * noise[0])).astype(np.float32)
        theirs[name] = (exact * (1 + 1e-7 * noise[1])).astype(np.float32)
        theirs[EXACT + name] = exact
    return (
        Answer(ours.pop("outputs"), {}, 0.0, ours),
        Answer(theirs.pop("outputs"), {}, 0.0, theirs),
    )


def test_few_logits_of_a_large_model_are_not_judged_the_head_is():
    given = config(num_classes=2)
    parts = {part.name: part for part in outputs._parts(given, *answers(given, 1e-7))}
    assert parts.keys() == {"logits", "tokens", "head"}
    assert [p.name for p in parts.values() if not p.judged] == ["logits"]
    assert not any(part.problem() for part in parts.values())
    parts = {part.name: part for part in outputs._parts(given, *answers(given, 1e-5))}
    assert [p.name for p in parts.values() if p.problem()] == ["tokens", "head"]
    many = config(num_classes=200)
    parts = {part.name: part for part in outputs._parts(many, *answers(many, 1e-5))}
    assert not parts["logits"].judged  # 8 inputs, 24 wide: 192 numbers
    wide = config(num_classes=200, embed_dim=96)
    parts = {part.name: part for part in outputs._parts(wide, *answers(wide, 1e-5))}
    assert parts["logits"].judged and parts["logits"].problem()


@pytest.mark.parametrize(
    "name, ratio, largest, judged, bad",
    [
        ("logits", 1.9, 9.0, True, False),
        ("logits", 2.1, 1.0, True, True),
        ("logits", 2.1, 1.0, False, False),
        ("logits", math.nan, math.nan, True, True),
        ("tokens", 1.0, 3.9, True, False),
        ("tokens", 1.0, 4.1, True, True),
        ("tokens", 1.0, math.nan, True, True),
    ],
)
def test_the_limits(name, ratio, largest, judged, bad):
    assert bool(Part(name, 64, ratio, largest, 0.0, judged).problem()) is bad
