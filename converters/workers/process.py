"""Starts fresh processes and reads their answers.

What was just written is judged by a process that knows nothing but the file: no layer,
no weight and no default of this one can help it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import converters
from converters.extras import MissingExtraError
from converters.workers.device import UNAVAILABLE, environment as environment_of
from converters.workers.orphan import WATCHED

Array = NDArray[Any]

BACKENDS = {"tensorflow": "keras", "jax": "jax", "torch": "torch"}
"""Keras' backends, with the extra that brings each."""

PACKAGES = ("vit_config", "torch_vit", "keras_vit", "converters")
KERAS_WORKER = "converters.workers.worker"
LAYER_INPUTS = 64
LIMIT_S = 600
POLL_S = 0.05


class ProcessError(RuntimeError):
    """A fresh process that cannot be started, or failed; the text says why."""


class UnavailableProcessError(ProcessError):
    """A process on a machine, or with a library, that cannot compute what was asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one file said in a fresh process.

    Attributes:
        outputs: What the model gives for all inputs.
        layers: Intermediate results for the first inputs, by name.
        load_seconds: How long loading took.
        more: Whatever else was asked for, by name.
    """

    outputs: Array
    layers: dict[str, Array]
    load_seconds: float
    more: dict[str, Array] = field(default_factory=dict)


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


def chosen_backend(name: str | None = None, extra: str = "keras") -> str:
    """The backend asked for, else that of KERAS_BACKEND, else one that is installed.

    Args:
        name: The backend.
        extra: What brings Keras and TensorFlow, for the message.

    Raises:
        ProcessError: If Keras has no such backend.
        MissingExtraError: If it, or Keras, is not installed.
    """
    name = name or os.environ.get("KERAS_BACKEND") or _installed()
    if name not in BACKENDS:
        raise ProcessError(f"Keras backend {name!r}; known are {', '.join(BACKENDS)}")
    own = extra if name == "tensorflow" else BACKENDS[name]
    require({name: own, "keras": extra})
    return name


def _installed() -> str:
    found = [name for name in BACKENDS if find_spec(name) is not None]
    return found[0] if found else next(iter(BACKENDS))


def require(modules: dict[str, str]) -> None:
    """Checks that modules are installed, without importing them.

    Args:
        modules: Extra by name of the module.

    Raises:
        MissingExtraError: For the first that is not.
    """
    for module, extra in modules.items():
        if find_spec(module) is None:
            raise MissingExtraError(
                f"{module} is not installed: pip install 'vit-duet[{extra}]'"
            )


def ask(models: Sequence[tuple[Path, Array]], backend: str, folder: Path) -> Fresh:
    """Loads each `.keras` file in one fresh process and gives it its inputs.

    Args:
        models: File and inputs (B, C, *spatial) of each.
        backend: Keras' backend.
        folder: An empty folder for what the two processes tell each other.

    Raises:
        ProcessError: If the process fails, with the last line of what it said.
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
    job = write_job(folder / "job.json", cases)
    with started(KERAS_WORKER, job, f"Keras ({backend})", backend) as worker:
        said = worker.wait(LIMIT_S)
    pairs = zip(cases, said["cases"], strict=True)
    answers = (read_answer(folder, case, told) for case, told in pairs)
    return Fresh(said["backend"], said["keras"], tuple(answers))


def write_job(path: Path, cases: list[dict[str, Any]]) -> Path:
    """Writes what a worker shall do; its files lie beside it."""
    path.write_text(json.dumps({"cases": cases}), encoding="utf-8")
    return path


def loaded_mark(case: dict[str, Any]) -> str:
    """Name of the empty file that says that the model of a case is loaded."""
    return f"{case['answers']}.loaded"


def read_answer(folder: Path, case: dict[str, Any], said: dict[str, Any]) -> Answer:
    """What a worker wrote for one case."""
    with np.load(folder / case["answers"]) as found:
        arrays = {name: found[name] for name in found.files}
    layers = {
        name.removeprefix("layer:"): arrays.pop(name)
        for name in list(arrays)
        if name.startswith("layer:")
    }
    outputs = arrays.pop("outputs")
    return Answer(outputs, layers, said["load_seconds"], arrays)


class Worker:
    """A module that runs as a program, with a job to do.

    Args:
        module: Its name.
        job: The file that says what to do.
        label: What to call it in messages.
        backend: Keras' backend there.
        device: `"cpu"` or `"cuda"`, as its job says.
        python: Python of another environment; None for this one.

    Raises:
        ProcessError: If that Python cannot be run.
    """

    def __init__(
        self,
        module: str,
        job: Path,
        label: str,
        backend: str,
        device: str = "cpu",
        python: Path | None = None,
    ) -> None:
        self._label = label
        self._said, self._errors = job.with_suffix(".out"), job.with_suffix(".err")
        path = packages_for(python, job.parent)
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            **environment_of(device),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONPATH": path,
            WATCHED: "1",
        }
        with self._said.open("wb") as out, self._errors.open("wb") as err:
            try:
                self._process = subprocess.Popen(
                    [str(python or sys.executable), "-P", "-m", module, str(job)],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=err,
                )
            except OSError as error:
                raise ProcessError(
                    f"{label}: {python} cannot be run: {error.strerror}"
                ) from None

    def wait(self, limit: float) -> dict[str, Any]:
        """Its last line, as JSON.

        Args:
            limit: Seconds it may take from now.

        Raises:
            ProcessError: If it fails, with the last line of what it said.
            UnavailableProcessError: If what was asked cannot be computed there.
        """
        try:
            code = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            raise ProcessError(
                f"{self._label} was not done after {limit:g} s"
            ) from None
        if code:
            text = self._errors.read_text("utf-8", "replace")
            lines = text.strip().splitlines() or [f"exit code {code}"]
            if code == UNAVAILABLE:
                raise UnavailableProcessError(f"{self._label}: {lines[-1]}")
            raise ProcessError(f"{self._label} failed in its process: {lines[-1]}")
        text = self._said.read_text("utf-8", "replace")
        said: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
        return said

    def wait_for(self, mark: Path, limit: float) -> None:
        """Waits until it has written a file or has ended, for so many seconds."""
        end = time.monotonic() + limit
        while self._process.poll() is None and not mark.exists():
            if time.monotonic() > end:
                return
            time.sleep(POLL_S)

    def wait_beside(self, other: Worker) -> None:
        """Waits until it is done, or another has failed that it may be waiting for."""
        while self._process.poll() is None and not other._process.poll():
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Ends it, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def packages_for(python: Path | None, folder: Path) -> str:
    """What PYTHONPATH must say so that a fresh process finds these packages.

    Args:
        python: Python of another environment; None for this one.
        folder: For links, if it is another one.
    """
    home = Path(converters.__file__).parents[1]
    if python is not None:
        return str(_ours_alone(home, folder))
    return os.pathsep.join([str(home), *filter(None, sys.path)])


def _ours_alone(home: Path, folder: Path) -> Path:
    """A folder with our packages and no other, for a Python that has its own."""
    path = folder / "packages"
    path.mkdir(exist_ok=True)
    for name in PACKAGES:
        link = path / name
        if not link.exists():
            link.symlink_to(home / name)
    return path


@contextmanager
def started(
    module: str,
    job: Path,
    label: str,
    backend: str,
    device: str = "cpu",
    python: Path | None = None,
) -> Iterator[Worker]:
    """A worker at work, which does not outlive the block."""
    worker = Worker(module, job, label, backend, device, python)
    try:
        yield worker
    finally:
        worker.stop()
