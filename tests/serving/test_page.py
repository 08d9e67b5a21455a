"""The README's section "Serve": from timm's folder to an answer, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.dialects.test_library_folders import timm_config, timm_folder
from tests.export.common import encoded, needs

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"```text\n\$ (.*?)\n(.*?)```", re.DOTALL)
LABELS = ["toad", "frog", "newt", "olm", "axolotl", "mudpuppy", "siren"]


def prepare(folder: Path) -> None:
    """A folder as timm saves it, with weights of ours, and a picture."""
    timm_folder(folder / "vit_tiny", timm_config(label_names=LABELS))
    rows, columns = np.mgrid[:300, :400]
    levels = np.stack([rows, 3 * columns, rows + columns], -1) % 256
    photo = encoded(levels.astype(np.uint8), "JPEG", quality=90)
    (folder / "photo.jpg").write_bytes(photo)


def blocks() -> list[tuple[str, str]]:
    text = (ROOT / "README.md").read_text("utf-8")
    (section,) = re.findall(r"^## Serve\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    return BLOCK.findall(section)


def shown(text: str) -> list[str]:
    """Without what differs from machine to machine: times, hashes, last digits."""
    lines = [re.sub(r"in [\d.]+ s", "in ... s", line) for line in text.splitlines()]
    lines = [re.sub(r"\b\d+\.\d\d s\b", "... s", line) for line in lines]
    lines = [re.sub(r"\d+\.\d+\.\d+(?!\.)", "version", line) for line in lines]
    lines = [re.sub(r"fingerprint\s+\w+", "fingerprint", line) for line in lines]
    lines = [re.sub(r"\b\d\.\d\d\b(?! ?MB)", "#", line) for line in lines]
    return [re.sub(r"\d[\d.]* MB", "MB", line.rstrip()) for line in lines if line]


@pytest.mark.slow
def test_the_section_is_what_is_printed(tmp_path):
    needs("tensorflow", "keras", "torch", "uvicorn", "starlette", "PIL")
    (export, exported), (serve, served), (call, answer) = blocks()
    prepare(tmp_path)
    python = Path(sys.executable).parent
    env = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{python}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = tmp_path / "vit-duet"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m converters "$@"\n')
    command.chmod(0o755)

    def run(line: str) -> str:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        ).stdout

    assert shown(run(export)) == shown(exported)
    said = tmp_path / "said"
    with said.open("wb") as out:
        words = [*serve.split(), "--port", "0"]
        server = subprocess.Popen(words, cwd=tmp_path, env=env, stdout=out)
        try:
            end = time.monotonic() + 120
            while "stop" not in said.read_text("utf-8"):
                assert server.poll() is None and time.monotonic() < end
                time.sleep(0.1)
            text = said.read_text("utf-8")
            port = re.findall(r"127\.0\.0\.1:(\d+)", text)[0]
            assert shown(text.replace(port, "8501")) == shown(served)
            assert shown(run(call.replace("8501", port))) == shown(answer)
        finally:
            server.terminate()
            server.wait(30)
