"""The unzipped `.keras`: what Keras writes and loads as a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import converters
from converters.cli.app import app
from tests.cases import CASES
from tests.converters.cases import write_canonical
from tests.fill import fill_weights

ROOT = Path(__file__).resolve().parents[2]
CONFIG = CASES["registers"]
FILES = ("config.json", "metadata.json", "model.weights.h5")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    weights = fill_weights(CONFIG)
    return write_canonical(tmp_path / "x.safetensors", CONFIG, weights)


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout + result.stderr


def test_folder_is_the_keras_file_unzipped(source: Path, tmp_path: Path) -> None:
    import zipfile

    report = converters.convert(source, tmp_path / "out", to_dialect="keras")
    assert report.files == FILES and report.proved == report.tensors
    converters.convert(source, tmp_path / "x.keras")
    with zipfile.ZipFile(tmp_path / "x.keras") as archive:
        for name in FILES[:2]:
            assert archive.read(name) == (tmp_path / "out" / name).read_bytes()
    converters.convert(source, tmp_path / "again", to_dialect="keras")
    for name in FILES:  # the same bytes every time
        one, two = (tmp_path / folder / name for folder in ("out", "again"))
        assert one.read_bytes() == two.read_bytes()


def test_folder_comes_back(source: Path, tmp_path: Path) -> None:
    converters.convert(source, tmp_path / "out", to_dialect="keras")
    found = converters.inspect(tmp_path / "out")
    assert (found.format, found.dialect) == ("keras folder", "keras")
    back = converters.convert(tmp_path / "out", tmp_path / "y.safetensors")
    assert back.fingerprint == found.fingerprint
    assert (tmp_path / "y.safetensors").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("target", "options", "text"),
    [
        ("x.keras", ("--to", "keras"), "a name that ends in .keras needs no --to"),
        ("out", ("--to", "keras", "--max-shard-size", "1GB"), "no folder of shards"),
        ("out", ("--to", "kera"), 'did you mean "keras"?'),
    ],
)
def test_refusals(
    source: Path, tmp_path: Path, target: str, options: tuple[str, ...], text: str
) -> None:
    code, output = call("convert", source, tmp_path / target, *options)
    assert code == 1 and text in output
    assert not (tmp_path / target).exists()


def test_other_models_are_refused(source: Path, tmp_path: Path) -> None:
    converters.convert(source, tmp_path / "out", to_dialect="keras")
    path = tmp_path / "out" / "config.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({**saved, "registered_name": "mine>ViT"}))
    with pytest.raises(converters.ConversionError, match='its model is a "mine>ViT"'):
        converters.convert(tmp_path / "out", tmp_path / "y.safetensors")


KERAS = """
import sys
import keras
import numpy as np
import keras_vit

ours, theirs = sys.argv[1:]
model = keras.models.load_model(ours)
again = keras_vit.load_model(ours, dtype="float32")
x = np.random.default_rng(0).standard_normal((2, 48, 32, 3)).astype("float32")
a, b = (keras.ops.convert_to_numpy(m(x, training=False)) for m in (model, again))
assert np.array_equal(a, b) and a.std() > 0.01
model.save(theirs, zipped=False)
"""


@pytest.mark.slow
def test_keras_loads_it_and_its_own_folder_is_read(
    source: Path, tmp_path: Path
) -> None:
    pytest.importorskip("keras")
    ours = converters.convert(source, tmp_path / "ours", to_dialect="keras")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = [str(tmp_path / name) for name in ("ours", "theirs")]
    command = [sys.executable, "-c", KERAS, *arguments]
    result = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert converters.inspect(tmp_path / "theirs").fingerprint == ours.fingerprint


@pytest.mark.slow
def test_outputs_are_compared(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    pytest.importorskip("torch")
    report = converters.convert(
        source, tmp_path / "out", to_dialect="keras", verify="logits"
    )
    assert report.ok and report.outputs is not None
