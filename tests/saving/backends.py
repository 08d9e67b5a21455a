"""Runs steps in a fresh process with one Keras backend.

The backend of Keras is fixed when it is imported, so nothing here imports it.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.once import once

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = ("tensorflow", "jax", "torch")
TIMEOUT_S = 3600

PROCESSES = int(os.environ.get("VIT_DUET_PROCESSES") or min(3, os.cpu_count() or 1))
"""Backends that run side by side; what one process of pytest has begun, the other
waits for."""

Step = tuple[str, str, dict[str, Any]]
Results = dict[str, dict[str, Any]]


@cache
def why_not(backend: str) -> str | None:
    """The reason why a backend is not tested, or None."""
    wanted = os.environ.get("VIT_DUET_BACKENDS")
    if wanted and backend not in [name.strip() for name in wanted.split(",")]:
        return f"VIT_DUET_BACKENDS leaves {backend} out"
    missing = [name for name in ("keras", backend) if find_spec(name) is None]
    return f"{' and '.join(missing)}: not installed" if missing else None


def available() -> list[str]:
    """Backends that are installed and wanted."""
    return [backend for backend in BACKENDS if why_not(backend) is None]


def backend_param(backend: str, *values: Any, marks: tuple = ()) -> Any:
    """A pytest parameter set that skips itself where the backend is not tested."""
    reason = why_not(backend)
    skip = [pytest.mark.skip(reason=reason)] if reason else []
    marks = [*marks, *skip, pytest.mark.keras_backend(backend)]
    return pytest.param(backend, *values, marks=marks, id="-".join([backend, *values]))


def step_names(module: str, prefix: str) -> list[str]:
    """Names of a module's functions `prefix...`, without importing it."""
    tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text("utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = [node.name for node in functions if node.name.startswith(prefix)]
    return [name.removeprefix(prefix) for name in names]


def run_steps(
    backend: str,
    folder: Path,
    phase: str,
    steps: list[Step],
    quick: bool = False,
) -> Results:
    """Runs functions of this package's step modules, one after the other.

    A phase is run once in a test run; whoever asks again gets the results.

    Args:
        backend: Keras backend.
        folder: The process's working folder.
        phase: What the steps are together; `PHASE.json` holds the results.
        steps: (key of the result, `"module:function"`, keyword arguments) of each.
        quick: The process is `alone` with its backend, and JAX compiles with few
            optimisations.

    Returns:
        For every key `{"error": traceback or None, "value": what it returned}`.

    Raises:
        RuntimeError: If the process ended in any other way.
    """

    def work() -> None:
        env = {
            "KERAS_BACKEND": backend,
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "OMP_NUM_THREADS": "1",  # the models are tiny
            # Bit-identity is demanded of the CPU here.
            "CUDA_VISIBLE_DEVICES": "-1",
            "JAX_PLATFORMS": "cpu",
        }
        if quick:
            env["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        result = subprocess.run(
            [
                *(sys.executable, "-m"),
                *(["tests.alone"] * quick),
                "tests.saving.worker",
            ],
            input=json.dumps([str(folder), phase, steps]),
            cwd=ROOT,
            env=os.environ | env,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if result.returncode:
            raise RuntimeError(
                f"the {backend} process ended with {result.returncode}\n"
                f"{result.stdout[-2000:]}\n{result.stderr[-8000:]}"
            )

    once(folder / f"{phase}.done", work)
    return json.loads((folder / f"{phase}.json").read_text("utf-8"))


def value_of(results: Results, key: str) -> Any:
    """What a step returned; fails the test with the step's traceback, if it has one."""
    result = results[key]
    if result["error"]:
        pytest.fail(f"{key}:\n{result['error']}", pytrace=False)
    return result["value"]
