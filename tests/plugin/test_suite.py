"""`pytest --parity-checkpoint`: our suite on a user's own checkpoint."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from converters.files import write
from converters.mapping.pipe import MemorySource
from converters.pytest_plugin import work
from tests.fill import fill_weights
from tests.laboratory.common import FLAT
from tests.plugin.common import QKV, Run, checkpoint, other_row, outcomes, plain
from tests.saving.backends import backend_param

pytest_plugins = ["pytester"]

FILES = ["parity::round_trip", "parity::weights"]
MODELS = ("loading", "logits", "layers", "gradients", "training", "reload")
USAGE = pytest.ExitCode.USAGE_ERROR


@pytest.fixture
def vit(pytester: pytest.Pytester) -> Path:
    return checkpoint(pytester.path)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets conversions to `.keras` write another row of weights."""

    def convert(source: Any, target: Path, **arguments: Any) -> None:
        if target.suffix != ".keras":
            right(source, target, **arguments)
            return
        weights = fill_weights(FLAT)
        other_row(weights)
        write(target, "keras", MemorySource(weights), FLAT)

    right = work.convert
    monkeypatch.setattr(work, "convert", convert)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Arguments of every verification, which are done as ever."""
    found = []

    def verify(a: Any, b: Any, **arguments: Any) -> Any:
        found.append({"b": Path(b).name, **arguments})
        return right(a, b, **arguments)

    right = work.verify
    monkeypatch.setattr(work, "verify", verify)
    return found


def test_an_empty_folder_is_enough(vit: Path, run: Run) -> None:
    result = run("--parity-checkpoint", "vit.safetensors", "--parity-level=weights")
    assert result.ret == 0
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "parity: vit.safetensors (canonical), 58,183 parameters; up to weights*",
            "collected 2 items",
            "parity ..*",
        ]
    )


@pytest.mark.parametrize("words", [(), ("tests",)])
def test_the_suite_runs_beside_a_project_s_own_tests(
    pytester: pytest.Pytester, vit: Path, run: Run, words: tuple[str, ...]
) -> None:
    folder = pytester.mkdir("tests")
    (folder / "test_own.py").write_text("def test_own(): pass\n")
    given = (*words, "--parity-checkpoint=vit.safetensors", "--parity-level=weights")
    every = ["tests/test_own.py::test_own", *FILES]
    assert outcomes(run("-v", *given)) == dict.fromkeys(every, "PASSED")
    without = run("-v", *given, "-m", "not parity_checkpoint", "--strict-markers")
    assert list(outcomes(without)) == every[:1]
    alone = run("-v", *given, "-m", "parity_checkpoint")
    assert list(outcomes(alone)) == FILES
    assert list(outcomes(run("-v", *given, "-k", "round_trip"))) == FILES[:1]


def test_without_a_checkpoint_there_is_no_suite(
    pytester: pytest.Pytester, run: Run
) -> None:
    assert run().ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize(
    ("level", "parts"),
    [
        ("weights", ()),
        ("logits", ("loading", "logits", "reload")),
        (None, ("loading", "logits", "layers", "reload")),
        ("training", MODELS),
    ],
)
def test_every_level_asked_for_is_a_test_on_every_backend(
    vit: Path,
    run: Run,
    calls: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    level: str | None,
    parts: tuple[str, ...],
) -> None:
    monkeypatch.setattr(work, "chosen", lambda config: ("jax", "torch"))
    given = () if level is None else ("--parity-level", level)
    result = run("--co", "-q", "--parity-checkpoint=vit.safetensors", *given)
    assert result.ret == 0
    found = [line for line in result.outlines if line.startswith("parity::")]
    models = [f"parity::{b}::{p}" for b in ("jax", "torch") for p in parts]
    assert found == FILES + models
    assert not calls, "collecting runs nothing"


def test_a_wrong_conversion_fails_and_is_described(
    vit: Path, run: Run, broken: None
) -> None:
    given = ("--parity-checkpoint=vit.safetensors", "--parity-level=weights")
    result = run(*given)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=2)
    text = result.stdout.str()
    assert text.count(f"{QKV} differs at 3 of axis 0 only") == 2
    assert "Traceback" not in text
    assert "suite.py" not in text
    again = f"vit-duet convert {vit} out.keras && vit-duet verify {vit} out.keras"
    assert f"{again} --level weights" in text
    result.stdout.fnmatch_lines(["FAILED parity::round_trip*B is not the same model*"])
    run(*given, "-x").assert_outcomes(failed=1)


def test_the_file_may_be_read_as_the_options_say(
    pytester: pytest.Pytester, run: Run
) -> None:
    """Bare tensors under our names: the config comes from a file, or by fields."""
    save_file(fill_weights(FLAT), pytester.path / "bare.safetensors")
    (pytester.path / "config.json").write_text(json.dumps(FLAT.to_dict()))
    words = ("--parity-checkpoint=bare.safetensors", "--parity-level=weights")
    missing = run(*words)
    assert missing.ret == USAGE
    advice = missing.stderr.str()
    assert "--parity-" in advice.partition("--parity-checkpoint")[2]
    assert " --config" not in advice
    assert " --set" not in advice
    config = ("--parity-config=config.json",)
    run(*words, *config).assert_outcomes(passed=2)
    other = run(*words, *config, "--parity-set", "embed_dim=40")
    assert other.ret == USAGE
    assert "embed_dim" in other.stderr.str() or "shape" in other.stderr.str()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.safetensors",), "none.safetensors: 1 problem* no such file"),
        (("text.safetensors",), "text.safetensors: 1 problem*"),
        (("gap.safetensors",), "*missing*blocks.1.attn.qkv.weight*"),
        (("vit.safetensors", "--parity-set=depth=x"), "*depth*"),
        (("vit.safetensors", "--parity-config=none.json"), "*none.json*"),
        (("vit.safetensors", "--parity-criteria=none.json"), "*none.json*"),
        (("vit.safetensors", "--parity-dialect=nobody"), "*nobody*"),
    ],
)
def test_what_cannot_be_read_ends_the_run_with_its_reason(
    pytester: pytest.Pytester,
    vit: Path,
    run: Run,
    words: tuple[str, ...],
    message: str,
) -> None:
    (pytester.path / "text.safetensors").write_text("no tensors")
    weights = fill_weights(FLAT)
    del weights[QKV]
    header = json.dumps({"schema_version": 1, "config": FLAT.to_dict()})
    save_file(weights, pytester.path / "gap.safetensors", {"vit_duet": header})
    result = run("--parity-checkpoint", *words)
    assert result.ret == USAGE
    text = plain(result.stderr.str())
    _matches(f"ERROR: --parity-checkpoint: *{message}*", text)
    assert "Traceback" not in text + result.stdout.str()
    assert "collected" not in result.stdout.str()


def _matches(pattern: str, text: str) -> None:
    pytest.LineMatcher([text]).fnmatch_lines([pattern])


@pytest.mark.parametrize("name", ["dialect", "preset", "config", "prefix", "set"])
def test_options_of_a_checkpoint_need_one(run: Run, name: str) -> None:
    result = run(f"--parity-{name}=x")
    assert result.ret == USAGE
    _matches(
        f"ERROR: --parity-{name} is for --parity-checkpoint", result.stderr.lines[0]
    )


def test_values_that_are_no_numbers_fail_the_tests(
    pytester: pytest.Pytester, run: Run
) -> None:
    """The start looks at names and shapes only: values are read once, by a test."""

    def spoil(weights: dict[str, np.ndarray]) -> None:
        weights[QKV][0, 0] = np.nan

    weights = fill_weights(FLAT)
    spoil(weights)
    write(pytester.path / "nan.safetensors", "safetensors", MemorySource(weights), FLAT)
    result = run("--parity-checkpoint=nan.safetensors", "--parity-level=weights")
    result.assert_outcomes(failed=2)
    text = result.stdout.str()
    assert QKV in text
    assert "Traceback" not in text
    assert "During handling" not in text


def test_nothing_is_left_on_the_disk(
    pytester: pytest.Pytester,
    vit: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = sorted(pytester.path.iterdir())
    run("--parity-checkpoint=vit.safetensors", "--parity-level=weights")
    assert list(tmp_path.iterdir()) == []
    assert sorted(pytester.path.iterdir()) == before


@pytest.mark.slow
def test_processes_of_xdist_share_the_tests(
    pytester: pytest.Pytester, vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scope is a backend, or the files, and its work is done by one process."""
    pytest.importorskip("xdist")
    # Named below: installed, the plugin would load itself under its other name.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v"]
    command += ["-p", "converters.pytest_plugin", "-p", "xdist", "-n", "2"]
    command += ["--dist", "loadscope", "--parity-checkpoint=vit.safetensors"]
    result = pytester.run(*command, "--parity-level=weights", "--strict-markers")
    assert result.ret == 0
    result.assert_outcomes(passed=2)
    workers = {line.split()[0] for line in result.outlines if "PASSED parity" in line}
    assert len(workers) == 1


@pytest.mark.parametrize(
    "backend",
    [
        backend_param("torch"),
        backend_param("tensorflow", marks=(pytest.mark.slow,)),
    ],
)
def test_models_are_asked_once_and_judged_part_by_part(
    vit: Path, run: Run, broken: None, calls: list[dict[str, Any]], backend: str
) -> None:
    """A file with one wrong row: it is loaded as it is, and computes something else."""
    result = run(
        *("-v", "--parity-checkpoint=vit.safetensors", "--parity-backend", backend),
        *("-k", "loading or logits or layers or reload"),
    )
    assert outcomes(result) == {
        f"parity::{backend}::loading": "PASSED",
        f"parity::{backend}::logits": "FAILED",
        f"parity::{backend}::layers": "FAILED",
        f"parity::{backend}::reload": "PASSED",
    }
    assert [(call["b"], call["level"]) for call in calls] == [("out.keras", "layers")]
    text = result.stdout.str()
    assert f"Layers of B, Keras on {backend} on" in text
    assert any(
        line.split()[:2] == [">", "blocks.1.attn.qkv"] for line in result.outlines
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", [backend_param("torch"), backend_param("jax")])
def test_a_right_checkpoint_passes_every_part(
    vit: Path, run: Run, calls: list[dict[str, Any]], backend: str
) -> None:
    result = run(
        *("-v", "--parity-checkpoint=vit.safetensors", "--parity-level=training"),
        *("--parity-backend", backend),
    )
    every = [*FILES, *(f"parity::{backend}::{part}" for part in MODELS)]
    assert outcomes(result) == dict.fromkeys(every, "PASSED")
    assert [call["b"] for call in calls].count("out.keras") == 2


@pytest.mark.slow
@pytest.mark.parametrize("backend", [backend_param("torch")])
def test_no_deeper_level_runs_than_the_selected_tests_need(
    vit: Path, run: Run, calls: list[dict[str, Any]], backend: str
) -> None:
    words = ("--parity-checkpoint=vit.safetensors", "--parity-level=training")
    result = run(*words, "--parity-backend", backend, "-k", "reload or logits")
    result.assert_outcomes(passed=2, deselected=6)
    assert [call["level"] for call in calls] == ["logits"]
