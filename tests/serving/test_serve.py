"""`vit-duet serve`: a real server process, a plain client, and `verify` on its URL."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from converters import ConversionError
from converters.cli.app import app
from converters.serving.model import named_by
from converters.serving.run import serve
from tests.export.common import (
    LABELS,
    encoded,
    needs,
    pictured,
    saved_model,
    twin_outputs,
)

needs("tensorflow", "keras", "torch", "uvicorn", "starlette", "PIL")

import torch  # noqa: E402

import torch_vit  # noqa: E402
from tests.serving.common import get, post, refused  # noqa: E402

MODEL = pictured(labels=LABELS)

ALONE = """
from converters.runtimes import checker
checker.BARRED = ("torch_vit", "keras_vit", "keras", "tf_keras", "torch")
checker.bar()
from converters.cli import main
main()
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Source and URL of a SavedModel, in a process that has neither twin nor Keras."""
    source, target, _ = saved_model(tmp_path_factory)
    said = tmp_path_factory.mktemp("serve") / "said"
    command = [sys.executable, "-c", ALONE, "serve", target, "--port", "0"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with said.open("wb") as out:
        process = subprocess.Popen(list(map(str, command)), stdout=out, env=env)
        try:
            yield source, target, until_served(process, said)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130


def until_served(process: subprocess.Popen[bytes], said: Path) -> str:
    """What a server prints once it answers."""
    end = time.monotonic() + 120
    while "stop" not in (text := said.read_text("utf-8")):
        assert process.poll() is None and time.monotonic() < end, text
        time.sleep(0.1)
    return text


def url_of(text: str) -> str:
    return next(word for word in text.split() if word.startswith("http://"))


def test_a_plain_client_gets_answers(served):
    _, _, text = served
    url = url_of(text)
    assert text.startswith("serving served (SavedModel) at http://127.0.0.1:")
    assert get(url)["model_version_status"][0]["version"] == "1"
    pixels = np.arange(70 * 50 * 3, dtype=np.uint8).reshape(70, 50, 3)
    files = [encoded(pixels, "PNG"), encoded(pixels[:41], "JPEG", quality=95)]
    rows = [{"b64": base64.b64encode(one).decode()} for one in files]
    body = {"signature_name": "serve_bytes", "instances": rows}
    found = post(url, body)["predictions"]
    for one in found:
        assert sum(one["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert one["label"] == LABELS[int(np.argmax(one["logits"]))]
    prepared = torch_vit.Preprocess(MODEL)(
        torch.from_numpy(pixels).movedim(-1, 0)[None]
    )
    exact = twin_outputs(MODEL, prepared.numpy(), True)
    for name in ("logits", "embedding", "tokens"):
        assert np.abs(found[0][name] - exact[name][0]).max() < 2e-5, name
    broken = {"b64": base64.b64encode(files[1][:80]).decode()}
    code, words = refused(url, {**body, "instances": [broken]})
    assert code == 400 and "node" not in words, words


def test_the_printed_call_works_in_a_shell(served, tmp_path):
    _, _, text = served
    (line,) = (line for line in text.splitlines() if line.startswith("try"))
    pixels = np.zeros((20, 30, 3), np.uint8)
    (tmp_path / "photo.jpg").write_bytes(encoded(pixels, "JPEG"))
    done = subprocess.run(
        ["bash", "-c", line.removeprefix("try")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert '"predictions"' in done.stdout


@pytest.mark.slow
def test_its_url_passes_verification(served):
    source, _, text = served
    done = CliRunner().invoke(app, ["verify", str(source), url_of(text)])
    assert done.exit_code == 0, done.output
    assert "logits of PNG" in done.output


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["serve", str(tmp_path / "none"), "--port", str(port)]
        done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert f"port {port} of 127.0.0.1 is taken" in done.output
    assert "--port 0" in done.output


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("none", {}, "no such file or folder"),
        ("folder", {}, "no exported model"),
        ("folder", {"port": 70000}, "port 70000"),
        ("folder", {"limit": 0}, "lets nothing through"),
        ("folder", {"host": "no host"}, "no host"),
        ("bad.pt2", {}, "cannot load it"),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path, name, options, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad.pt2").write_bytes(b"PK")
    with pytest.raises(ConversionError, match=words):
        serve(tmp_path / name, **{"port": 0, **options})


def test_a_name_that_is_none_in_a_url_is_refused(tmp_path):
    (tmp_path / "my ä" / "7").mkdir(parents=True)
    (tmp_path / "my ä" / "7" / "saved_model.pb").touch()
    with pytest.raises(ConversionError, match="'my ä' is no name for a URL"):
        serve(tmp_path / "my ä", port=0)
    for path in (tmp_path / "my ä", tmp_path / "my ä" / "7"):
        assert named_by(path, "saved_model") == ("my ä", "7")
    assert named_by(tmp_path / "vit.base.onnx", "onnx") == ("vit.base", "1")
