"""The processes of a session: one per Keras backend and device, for all its jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tests.once import once
from tests.parity.protocol import Arrays, Job, dump_jobs
from vit_config import ViTConfig

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 3600


class Results:
    """What one process computed; a job's outputs are read when they are asked for.

    Args:
        folder: Where it wrote them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = json.loads((folder / "index.json").read_text("utf-8"))

    @property
    def note(self) -> str:
        """Why there are no results; empty if there are."""
        return self._index["note"]

    @property
    def seconds(self) -> dict[str, float]:
        """Processor time of every job, by key."""
        return self._index["seconds"]

    def of(self, key: str) -> Arrays:
        """All outputs of one job."""
        with np.load(self._folder / self._index["files"][key]) as arrays:
            return dict(arrays)


class Writer:
    """Writes what `Results` reads; no more than one job's outputs are in memory.

    Args:
        folder: Where to write; it is made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, str] = {}
        folder.mkdir(exist_ok=True)

    def add(self, key: str, arrays: Arrays) -> None:
        """Writes one job's outputs."""
        self._files[key] = f"{len(self._files)}.npz"
        np.savez(self._folder / self._files[key], **arrays)

    def finish(self, note: str, seconds: Mapping[str, float]) -> None:
        """Writes the index."""
        index = {"note": note, "seconds": seconds, "files": self._files}
        (self._folder / "index.json").write_text(json.dumps(index), "utf-8")


def run_worker(
    backend: str,
    folder: Path,
    jobs: Iterable[Job],
    goldens: Iterable[str] = (),
    device: str = "cpu",
    fresh: Mapping[str, ViTConfig] = MappingProxyType({}),
) -> Results:
    """Runs jobs in a fresh process with one Keras backend, once in a test run.

    Args:
        backend: Keras backend.
        folder: Where jobs and results are written.
        jobs: What to run.
        goldens: Golden cases to run as well.
        device: `"cpu"` or `"cuda"`.
        fresh: Models whose fresh weights are wanted, by name.

    Raises:
        RuntimeError: If the process fails.
    """

    def work() -> None:
        spec = {
            "jobs": dump_jobs(jobs),
            "goldens": list(goldens),
            "fresh": {name: config.to_dict() for name, config in fresh.items()},
        }
        (folder / "jobs.json").write_text(json.dumps(spec), "utf-8")
        command = [sys.executable, "-m", "tests.alone", "tests.parity.worker"]
        command += [str(folder / "jobs.json"), str(folder / "results"), device]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(backend, device),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(
                f"the {backend} process ended with {done.returncode}\n"
                f"{done.stdout[-2000:]}\n{done.stderr[-8000:]}"
            )

    once(folder / "done", work)
    return Results(folder / "results")


def environment(backend: str, device: str) -> dict[str, str]:
    """Environment of a process with that backend on that device."""
    found = os.environ | {
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "OMP_NUM_THREADS": "1",
        "NVIDIA_TF32_OVERRIDE": "0",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    if device == "cpu":
        found |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    else:
        flags = os.environ.get("XLA_FLAGS", "")
        found["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    return found
