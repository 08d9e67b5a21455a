"""`vit-duet quantize`: what is rounded, what is not, and whether figures are true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import converters
from converters import ConversionError
from converters.cli.app import app
from converters.quantization import run as module
from converters.quantization.report import moved
from tests.export.common import needs, pictured
from tests.fill import fill_weights

needs("keras")
torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]
SEED = 0
"""Of the noise, as docs/quantization.md says."""

CONFIG = pictured(embed_dim=48, num_heads=2, mlp_dim=64, num_classes=5, qkv_bias=True)


def noise(config, count: int) -> np.ndarray:
    """(B, C, *spatial)"""
    rng = np.random.default_rng(SEED)
    return rng.standard_normal((count, config.in_chans, *config.img_size), np.float32)


def plainly(folder: Path, x: np.ndarray, backend: str, *models: Path) -> dict:
    """What Keras' own loader finds, in a process of its own."""
    np.save(folder / "x.npy", x)
    done = subprocess.run(
        [sys.executable, "-m", "tests.quantizing.plain"]
        + [str(path) for path in (folder / "x.npy", folder / "out.npz", *models)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(folder / "out.npz") as found:
        return dict(found)


def twin(arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """What the torch twin gives in float32."""
    import torch_vit

    model = torch_vit.ViT(CONFIG).eval()
    model.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
    with torch.no_grad():
        return model(torch.from_numpy(x)).numpy()


def weights() -> dict[str, np.ndarray]:
    """All random, and with every class the first for some of the noise."""
    arrays = fill_weights(CONFIG)
    middle = twin(arrays, noise(CONFIG, 64)).mean(0)
    return {**arrays, "head.bias": arrays["head.bias"] - middle}


def written(path: Path) -> Path:
    header = json.dumps({"schema_version": 1, "config": CONFIG.to_dict()})
    save_file(weights(), path, {"format": "pt", "vit_duet": header})
    return path


def refused(*arguments, **options) -> str:
    with pytest.raises(ConversionError) as caught:
        converters.quantize(*arguments, **options)
    return str(caught.value)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, what it was quantised to, and the report."""
    folder = tmp_path_factory.mktemp("quantized")
    source = written(folder / "m.safetensors")
    target = folder / "m.int8.keras"
    report = converters.quantize(source, target, backend="torch")
    return folder, report


@pytest.fixture(scope="module")
def loaded(made):
    """What two fresh loads of that file have, and one of the file in float32."""
    folder, report = made
    single = folder / "float.keras"
    converters.convert(folder / "m.safetensors", single, verify="weights")
    x = np.moveaxis(noise(CONFIG, 64), 1, -1)
    return plainly(folder, x, "torch", report.target, report.target, single)


@pytest.mark.slow
def test_the_figures_are_those_of_an_independent_computation(made, loaded):
    _, report = made
    before, after = twin(weights(), noise(CONFIG, 64)), loaded["0:outputs"]
    exact = before.astype(np.float64)
    off = after - exact
    figures = report.figures
    assert (figures.inputs, figures.what, figures.rule) == (64, "seeded noise", "top-1")
    error = np.sqrt((off**2).mean() / (exact**2).mean())
    assert 1e-3 < error < 0.2
    assert figures.error == pytest.approx(error, rel=1e-3)
    assert figures.max_difference == pytest.approx(np.abs(off).max(), rel=1e-3)
    assert figures.max_output == pytest.approx(np.abs(exact).max(), rel=1e-5)
    same = (before.argmax(1) == after.argmax(1)).mean()
    assert figures.agreement == same
    assert figures.classes == len(set(before.argmax(1))) == 5
    assert 0.5 < same < 1
    assert report.file_bytes[1] == report.target.stat().st_size
    assert report.size_ratio == report.file_bytes[1] / report.file_bytes[0] < 1
    assert report.speed_ratio == pytest.approx(
        report.seconds_float / report.seconds_quantized
    )


@pytest.mark.slow
def test_a_fresh_process_gets_the_same_bits_again(made, loaded):
    assert loaded["0:outputs"].tobytes() == loaded["1:outputs"].tobytes()
    assert np.isfinite(loaded["0:outputs"]).all()


@pytest.mark.slow
def test_kernels_are_rounded_and_nothing_else_is(made, loaded):
    _, report = made
    exact = {k.removeprefix("2:"): v for k, v in loaded.items() if k[:2] == "2:"}
    del exact["outputs"]
    rounded = set()
    for path, value in exact.items():
        found = loaded[f"0:{path}"]
        layer, _, name = path.rpartition("/")
        if layer in report.layers and name == "kernel":
            rounded.add(layer)
            assert found.dtype == np.int8
            # One scale for each output, so that its largest weight becomes 127.
            step = np.abs(value).max(axis=0) / 127
            assert np.abs(found * step - value).max() <= 0.51 * step.max()
            assert (np.abs(found.astype(int)).max(axis=0) == 127).all()
        else:
            assert found.tobytes() == value.tobytes(), path
    assert rounded == set(report.layers)
    assert {"blocks_0/attn/qkv", "blocks_0/mlp/fc1", "head"} <= rounded
    assert not any("patch_embed" in layer or "norm" in layer for layer in rounded)


@pytest.mark.slow
def test_the_artifact_and_its_card_say_what_they_are(made):
    _, report = made
    assert report.config.source.steps[-1] == "quantize:int8"
    card = report.target.with_name(f"{report.target.name}.README.md").read_text()
    assert "Int8 quantised, not identical" in card
    assert '"int8"' in card.split("---")[1]
    said = f"{report.figures.agreement:.1%}, top-1 (of 5 classes that come first)"
    assert said in str(report)
    assert f"{report.figures.agreement:.1%}, top-1" in card
    assert "not identical" in str(report)
    heads = f"{report.config.num_heads} heads of {report.config.attn_head_dim}"
    assert heads in str(report) and f"| {heads} |" in card
    said = json.loads(report.to_json())
    assert said["identical"] is False
    assert said["figures"]["error"] == report.figures.error
    import zipfile

    with zipfile.ZipFile(report.target) as archive:
        assert "quantize:int8" in archive.read("config.json").decode()


@pytest.mark.slow
def test_there_is_no_way_back(made, tmp_path):
    _, report = made
    for target in ("back.safetensors", "again.keras"):
        with pytest.raises(ConversionError, match="its weights are quantised"):
            converters.convert(report.target, tmp_path / target)
    assert "its weights are quantised" in refused(report.target, tmp_path / "a.keras")
    with pytest.raises(ConversionError, match="its weights are quantised"):
        converters.inspect(report.target)
    assert not list(tmp_path.iterdir())


def answers(monkeypatch, before, after, again) -> list:
    """Lets the processes say this; what they were given is kept."""
    given = []

    def asked(folder, name, case, backend):
        shape = (case["count"], 3, *CONFIG.img_size)
        given.append(np.fromfile(folder / case["inputs"], np.float32).reshape(shape))
        Path(case["quantized"]).write_bytes(b"quantised")
        said = {"make": {"before": before, "after": after}, "reload": {"after": again}}
        np.savez(folder / f"{name}.npz", **said[name])
        if name == "make":
            return {"layers": ["head"], "weight_bytes": [8, 2]}
        return {"seconds": [1.0, 2.0], "versions": {}}

    monkeypatch.setattr(module, "_asked", asked)
    return given


def test_a_file_that_comes_back_otherwise_is_not_kept(tmp_path, monkeypatch):
    source = written(tmp_path / "m.safetensors")
    x = np.ones((64, 5), np.float32)
    off = x.copy()
    off[0, 0] = np.nextafter(x[0, 0], np.float32(9))
    for after, again, text in (
        (x, off, "other outputs after saving and loading"),
        (x * np.nan, x * np.nan, "not all finite"),
    ):
        answers(monkeypatch, x, after, again)
        assert text in refused(source, tmp_path / "q.keras")
        assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]
    answers(monkeypatch, x, off, off)
    report = converters.quantize(source, tmp_path / "q.keras")
    assert report.speed_ratio == 0.5
    assert (tmp_path / "q.keras").read_bytes() == b"quantised"


def test_the_user_s_own_inputs_are_compared(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    from torch_vit import Preprocess

    source = written(tmp_path / "m.safetensors")
    np.save(tmp_path / "two.npy", noise(CONFIG, 2))
    pixels = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    image.fromarray(pixels).save(tmp_path / "a.png")
    x = np.ones((3, 5), np.float32)
    given = answers(monkeypatch, x, x, x)
    arguments = ["quantize", source, tmp_path / "q.keras", "--json", "--no-card"]
    arguments += ["--input", tmp_path / "two.npy", "--input", tmp_path / "a.png"]
    found = CliRunner().invoke(app, list(map(str, arguments)))
    assert found.exit_code == 0, found.output
    figures = json.loads(found.stdout)["figures"]
    assert (figures["inputs"], figures["what"]) == (3, "of 2 files")
    assert sorted(path.name for path in tmp_path.glob("q*")) == ["q.keras"]
    prepared = Preprocess(CONFIG)(torch.from_numpy(pixels.transpose(2, 0, 1)[None]))
    for one in given:
        assert one[:2].tobytes() == noise(CONFIG, 2).tobytes()
        assert np.abs(one[2] - prepared[0].numpy()).max() < 1e-5
    (tmp_path / "bad.png").write_bytes(b"<html>")
    picture = tmp_path / "a.png"
    assert "bad.png" in refused(source, tmp_path / "r.keras", inputs=[tmp_path])
    unstated = {"data.mean": None}
    said = refused(source, tmp_path / "r.keras", inputs=picture, changes=unstated)
    assert "data.mean" in said
    assert not (tmp_path / "r.keras").exists()


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("q.safetensors", {}, '".safetensors" is no suffix of a quantised model'),
        ("q.keras", {"backend": "theano"}, "Keras backend 'theano'"),
        ("q.keras", {"batch_size": 0}, "batch_size: found 0; a number from 1 up"),
        ("q.keras", {"inputs": "gone.npy"}, "gone.npy"),
        ("m.safetensors", {}, "is no suffix"),
        ("no/q.keras", {}, "no such folder"),
        ("q.keras", {"white": 3.0}, "white"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, name, options, text):
    source = written(tmp_path / "m.safetensors")
    assert text in refused(source, tmp_path / name, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


def test_what_exists_is_not_replaced(tmp_path):
    source = written(tmp_path / "m.safetensors")
    (tmp_path / "q.keras").write_bytes(b"mine")
    assert "exists already" in refused(source, tmp_path / "q.keras")
    assert (tmp_path / "q.keras").read_bytes() == b"mine"


def test_agreement_is_what_the_model_decides_by():
    before = np.array([[1.0, -1.0, 0.5], [0.2, 0.1, -3.0]], np.float32)
    after = np.array([[0.9, -0.8, 1.0], [0.3, -0.1, -3.0]], np.float32)
    one = moved(CONFIG.replace(num_classes=3), before, after, "x")
    assert (one.agreement, one.rule, one.classes) == (0.5, "top-1", 1)
    assert one.error == pytest.approx(
        np.sqrt((0.01 + 0.04 + 0.25 + 0.01 + 0.04) / 11.3)
    )
    assert (one.max_difference, one.max_output) == (pytest.approx(0.5), 3.0)
    each = CONFIG.replace(num_classes=3, problem_type="multi_label")
    one = moved(each, before, after, "x")
    assert (one.agreement, one.rule) == (5 / 6, "each over 0.5")
    for changes, rule in (
        ({"num_classes": 0, "problem_type": None}, "no head"),
        ({"num_classes": 1}, "one class"),
        ({"problem_type": "regression"}, "regression"),
        ({"head_act": "tanh", "problem_type": None}, "tanh"),
    ):
        one = moved(CONFIG.replace(**changes), before, after, "x")
        assert one.agreement is None
        assert rule in one.rule
    tanh = CONFIG.replace(num_classes=3, head_act="tanh", problem_type="single_label")
    one = moved(tanh, np.tanh(before), np.tanh(after), "x")
    assert (one.agreement, one.rule) == (0.5, "top-1")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_with_preprocessing_on_other_backends(tmp_path, backend):
    pytest.importorskip(backend)
    source = written(tmp_path / "m.safetensors")
    report = converters.quantize(
        source, tmp_path / "q.keras", backend=backend, with_preprocessing=True
    )
    assert report.raw is not None
    assert report.figures.agreement > 0.5
    assert 1e-3 < report.figures.error < 0.2
    raw = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), np.uint8)
    found = plainly(tmp_path, raw, backend, report.target, report.target)
    assert found["0:outputs"].tobytes() == found["1:outputs"].tobytes()
    assert found["0:outputs"].shape == (2, 5)
