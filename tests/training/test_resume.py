"""A training that is interrupted and resumed ends with the same bits.

All kinds of dropout are on, and a schedule of the learning rate. Compared are weights,
optimizer state and dropout states, after one more epoch in a fresh process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from converters import convert
from tests.saving.backends import BACKENDS, ROOT, backend_param

CASES = (
    "whole",
    "plain_loader",
    "weights_only",
    "frozen",
    "frozen_backup",
    "scaled",
    "scaled_backup",
    "killed",
)
SHORT = {
    "torch": ("frozen_backup", "scaled", "killed"),
}
"""In the default run: TensorFlow and JAX trace every model for seconds."""


def run(
    backend: str, phase: str, folder: Path, depth: int, cases: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    """One process of the child."""
    env = {
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
    }
    command = [
        *(sys.executable, "-m", "tests.alone", "tests.training.child"),
        *(phase, str(folder), str(depth), *cases),
    ]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


def resume(backend: str, folder: Path, depth: int, cases: tuple[str, ...]) -> None:
    """Both processes; fails unless every case came out exact."""
    first = run(backend, "interrupted", folder, depth, cases)
    assert first.returncode == -signal.SIGKILL, first.stderr[-4000:]
    second = run(backend, "resumed", folder, depth, cases)
    assert second.returncode == 0, second.stdout + second.stderr[-4000:]
    exact = [line for line in second.stdout.splitlines() if line.startswith("exact ")]
    assert exact == [f"exact {name}" for name in cases]


@pytest.mark.parametrize("backend", [backend_param(b) for b in SHORT])
def test_resumed_training_has_the_same_bits(backend: str, tmp_path: Path) -> None:
    resume(backend, tmp_path, 1, SHORT[backend])
    if "scaled" in SHORT[backend]:
        checkpoint = tmp_path / "scaled-model.keras"  # of the epoch before
        target = tmp_path / "scaled.safetensors"
        report = convert(checkpoint, target, verify="weights")
        assert report.ok and report.steps == ("drop_optimizer",)
        assert report.dtype == "float32"
        assert "drop_optimizer" in str(report)


@pytest.mark.slow
@pytest.mark.parametrize("backend", [backend_param(b) for b in BACKENDS])
def test_all_ways_of_resuming_have_the_same_bits(backend: str, tmp_path: Path) -> None:
    resume(backend, tmp_path, 2, CASES)
