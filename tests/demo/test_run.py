"""The demo as a whole: what it leaves, what it refuses, and that its laws bite."""

import dataclasses
import io
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("nibabel")
pytest.importorskip("matplotlib")

import torch_vit
from converters.conversion.convert import convert
from converters.demo import data2d, run, runner, train
from converters.demo.task import Recipe, Split, Task
from converters.extras import MissingExtraError
from converters.workers import process
from converters.workers.process import Answer, Fresh, ProcessError

ROOT = Path(__file__).resolve().parents[2]


DRAW = runner._draw


def tiny_tasks(quick):
    """Digits twice, hardly trained: what is under test is all the rest."""
    whole = data2d.digits_task()
    split = Split(
        whole.split.train_x[:128],
        whole.split.train_y[:128],
        whole.split.test_x[:96],
        whole.split.test_y[:96],
    )
    config = whole.config.replace(embed_dim=16, mlp_dim=24, depth=2, num_heads=2)
    fields = {"held_out": "a few", "chance": 0.1, "bar": 0.0}
    return [
        Task(name, name, config=config, split=split, recipe=Recipe(1, 0.1), **fields)
        for name in ("digits", "mri")
    ]


def torch_instead(models, backend, folder):
    """Answers from the `.keras` files as the fresh process gives them, sans Keras."""
    answers = []
    for path, x in models:
        model = torch_vit.ViT.from_pretrained(path).eval()
        layers = train.layers(model, x[: process.LAYER_INPUTS])
        answers.append(Answer(train.outputs(model, x), layers, 0.0))
    return Fresh(backend, "0", tuple(answers))


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(runner, "_tasks", tiny_tasks)
    monkeypatch.setattr(process, "ask", torch_instead)
    monkeypatch.setattr(
        process, "chosen_backend", lambda name, extra: name or "tensorflow"
    )
    monkeypatch.setattr(
        runner, "_draw", lambda path, cases, found, fresh: path.write_bytes(b"")
    )


def started(out, **options):
    """Exit code and what was printed."""
    text = io.StringIO()
    status = run(out, console=Console(file=text, width=80), **options)
    return status, text.getvalue()


def test_it_leaves_its_files(tiny, tmp_path):
    out = tmp_path / "deep" / "folder"
    status, text = started(out)
    assert status == 0, text
    assert sorted(p.name for p in out.iterdir()) == sorted(runner.FILES)
    assert (
        "All laws hold" in text
        and "Quick" not in text
        and "─" not in text
        and "\x1b" not in text
    )
    found = json.loads((out / runner.REPORT).read_text())
    assert found["ok"] and len(found["cases"]) == 4
    assert str(tmp_path) not in (out / runner.REPORT).read_text()
    assert {case["identical"] == case["tensors"] for case in found["cases"]} == {True}


def test_again_it_replaces_its_own_files_only(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_draw", DRAW)
    for name in ("notes.txt", "digits.safetensors", "mri-classes.keras.bak"):
        (tmp_path / name).write_text("mine")
    elsewhere = tmp_path.parent / "elsewhere.png"
    elsewhere.write_text("mine")
    (tmp_path / runner.PICTURE).symlink_to(elsewhere)
    (tmp_path / "digits-classes.keras").write_text("old")
    before = set(tmp_path.iterdir())
    assert started(tmp_path)[0] == 0
    first = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert started(tmp_path)[0] == 0
    second = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    for name in ("notes.txt", "digits.safetensors", "mri-classes.keras.bak"):
        assert second[name] == b"mine"
    assert elsewhere.read_text() == "mine"
    assert set(tmp_path.iterdir()) == before | {tmp_path / n for n in runner.FILES}
    # Same seeds: the same bytes, but for the times in the report.
    del first[runner.REPORT], second[runner.REPORT]
    assert first == second


def nudged(source, target, **options):
    """A conversion that changes one weight on its way to Keras."""
    if target.suffix == ".keras" and "mri-classes" in target.name:
        model = torch_vit.ViT.from_pretrained(source)
        model.blocks[1].mlp.fc1.weight.data[0, 0] += 0.01
        return model.save_pretrained(target, force=True)
    return convert(source, target, **options)


def test_a_perturbed_artifact_fails(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "convert", nudged)
    status, text = started(tmp_path)
    assert status == 1
    failed = [line for line in text.splitlines() if line.startswith("FAILED")]
    assert any("times the noise" in line for line in failed)
    assert any("it begins at blocks.1.mlp.fc1" in line for line in failed)
    assert any("1 of 32 tensors came back changed" in line for line in failed)
    assert all(line.startswith("FAILED mri, classes: ") for line in failed)
    assert "All laws hold" not in text
    assert not json.loads((tmp_path / runner.REPORT).read_text())["ok"]


def test_a_low_accuracy_fails(tiny, tmp_path, monkeypatch):
    def demanding(quick):
        return [dataclasses.replace(task, bar=1.0) for task in tiny_tasks(quick)]

    monkeypatch.setattr(runner, "_tasks", demanding)
    status, text = started(tmp_path, quick=True)
    assert status == 1
    assert "Quick run: short training, and lower accuracy bars" in text
    assert text.count("below the bar of 100.0 %") == 2


def test_a_file_in_place_of_the_folder(tiny, tmp_path):
    file = tmp_path / "taken"
    file.write_text("mine")
    status, text = started(file)
    assert status == 1 and len(text.splitlines()) == 1
    assert "is a file; the demo needs a folder" in text
    assert file.read_text() == "mine"


def test_a_folder_in_place_of_a_file(tiny, tmp_path):
    (tmp_path / runner.PICTURE).mkdir()
    status, text = started(tmp_path)
    assert status == 1 and "demo.png is a folder" in text
    assert list(tmp_path.iterdir()) == [tmp_path / runner.PICTURE]


@pytest.mark.parametrize("missing", ["torch", "matplotlib"])
def test_a_missing_extra(tiny, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    status, text = started(tmp_path / "new")
    assert status == 1 and len(text.splitlines()) == 1
    assert f"{missing} is not installed: pip install 'vit-duet[demo]'" in text
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("missing", ["sklearn", "nibabel"])
def test_missing_data(tmp_path, monkeypatch, missing):
    monkeypatch.setattr(process, "chosen_backend", lambda name, extra: "tensorflow")
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    status, text = started(tmp_path / "new")
    assert status == 1
    assert "is not installed: pip install 'vit-duet[demo]'" in text
    assert not (tmp_path / "new").exists()


def test_the_backend_is_chosen_before_anything_is_done(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(process, "find_spec", lambda name: object())
    assert process.chosen_backend() == "tensorflow"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert process.chosen_backend() == "jax"
    assert process.chosen_backend("torch") == "torch"
    with pytest.raises(
        ProcessError, match="'theano'; known are tensorflow, jax, torch"
    ):
        process.chosen_backend("theano")
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"jax is not .* 'vit-duet\[jax\]'"):
        process.chosen_backend()
    with pytest.raises(MissingExtraError, match=r"'vit-duet\[demo\]'"):
        process.chosen_backend("tensorflow", extra="demo")


def test_a_process_that_fails_is_one_line(tmp_path):
    models = [(tmp_path / "none.keras", np.zeros((1, 1, 8, 8), np.float32))]
    with pytest.raises(ProcessError, match=r"failed in its process: .+") as error:
        process.ask(models, "no_such_backend", tmp_path)
    assert "\n" not in str(error.value)


def test_training_leaves_the_callers_torch_alone():
    import torch

    torch.manual_seed(5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    one, two = (train.train(tiny_tasks(True)[0]).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_feature_mode_is_the_same_backbone():
    import torch

    model = torch_vit.ViT(tiny_tasks(True)[0].config).eval()
    features = train.feature_mode(model)
    x = torch.randn(3, 1, 8, 8)
    assert features.config.num_classes == 0
    with torch.no_grad():
        assert torch.equal(features(x), model.forward_features(x))


def test_importing_the_demo_brings_no_framework():
    code = (
        "import sys, converters.demo; "
        "print([m for m in ('torch', 'keras', 'sklearn', 'nibabel', 'matplotlib') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("backend", list(process.BACKENDS))
def test_quick_run_end_to_end(tmp_path, backend):
    wanted = os.environ.get("VIT_DUET_BACKENDS")
    if wanted and backend not in [name.strip() for name in wanted.split(",")]:
        pytest.skip(f"VIT_DUET_BACKENDS leaves {backend} out")
    if find_spec("keras") is None or find_spec(backend) is None:
        pytest.skip(f"keras and {backend}: not both installed")
    code = (
        "import sys; from converters.demo import run; "
        f"sys.exit(run(sys.argv[1], quick=True, keras_backend={backend!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""  # no warnings, no logs
    assert "All laws hold" in done.stdout and "Quick run" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(runner.FILES)
    found = json.loads((tmp_path / runner.REPORT).read_text())
    assert found["backend"] == backend
    assert {case["mode"] for case in found["cases"]} == {"classes", "features"}
    if backend == "torch":
        assert {case["max_difference"] for case in found["cases"]} == {0.0}
