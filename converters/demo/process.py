"""Starts the fresh process and reads its answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import converters
from converters.demo.task import Array, DemoError
from converters.extras import MissingExtraError

BACKENDS = {"tensorflow": "demo", "jax": "jax", "torch": "torch"}
"""Keras' backends, with the extra that brings each."""

LAYER_INPUTS = 64
LIMIT_S = 600


@dataclass(frozen=True, slots=True)
class Answer:
    """What one `.keras` file said in the fresh process.

    Attributes:
        outputs: Over the whole test split.
        layers: Intermediate results for its first inputs, by name.
        load_seconds: How long loading took.
    """

    outputs: Array
    layers: dict[str, Array]
    load_seconds: float


@dataclass(frozen=True, slots=True)
class Fresh:
    """All answers of the process.

    Attributes:
        backend: Keras' backend there.
        keras: Keras' version there.
        answers: One per model asked.
    """

    backend: str
    keras: str
    answers: tuple[Answer, ...]


def chosen_backend(name: str | None = None) -> str:
    """The backend asked for, else that of KERAS_BACKEND, else TensorFlow.

    Raises:
        DemoError: If Keras has no such backend.
        MissingExtraError: If it, or Keras, is not installed.
    """
    name = name or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if name not in BACKENDS:
        raise DemoError(f"Keras backend {name!r}; known are {', '.join(BACKENDS)}")
    for module, extra in ((name, BACKENDS[name]), ("keras", "demo")):
        if find_spec(module) is None:
            raise MissingExtraError(
                f"{module} is not installed: pip install 'vit-duet[{extra}]'"
            )
    return name


def ask(models: Sequence[tuple[Path, Array]], backend: str, folder: Path) -> Fresh:
    """Loads each `.keras` file in one fresh process and gives it its inputs.

    Args:
        models: File and inputs (B, C, *spatial) of each.
        backend: Keras' backend.
        folder: An empty folder for what the two processes tell each other.

    Raises:
        DemoError: If the process fails, with the last line of what it said.
    """
    cases = []
    for i, (path, x) in enumerate(models):
        np.save(folder / f"inputs-{i}.npy", x)
        cases.append(
            {
                "model": str(path.resolve()),
                "inputs": f"inputs-{i}.npy",
                "answers": f"answers-{i}.npz",
                "layers": LAYER_INPUTS,
            }
        )
    job = folder / "job.json"
    job.write_text(json.dumps({"cases": cases}), encoding="utf-8")
    said = _run(job, backend)
    answers = []
    for i, case in enumerate(said["cases"]):
        with np.load(folder / f"answers-{i}.npz") as found:
            layers = {
                key.removeprefix("layer:"): found[key]
                for key in found.files
                if key.startswith("layer:")
            }
            answers.append(Answer(found["outputs"], layers, case["load_seconds"]))
    return Fresh(said["backend"], said["keras"], tuple(answers))


def _run(job: Path, backend: str) -> dict[str, Any]:
    # On the CPU, as the torch twin: a GPU's reduced precision is another question.
    home = str(Path(converters.__file__).parents[1])
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join([home, *filter(None, sys.path)]),
    }
    command = [sys.executable, "-P", "-m", "converters.demo.worker", str(job)]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DemoError(f"Keras ({backend}) was not done after {LIMIT_S} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise DemoError(f"Keras ({backend}) failed in its process: {lines[-1]}")
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said
