"""Runs the models of a verification in fresh processes, side by side."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.engine import Array
from converters.parity.device import UnavailableError
from converters.parity.operands import Opened
from converters.parity.original import run_source, source_label
from converters.parity.plan import Plan
from converters.parity.process import (
    KERAS_WORKER,
    ProcessError,
    Worker,
    started,
    write_job,
)
from converters.parity.record import Check
from converters.version import VERSION

REFERENCE = "converters.parity.reference"
LIMIT_S = 24 * 3600
RELOADED = "batch3"
"""The kind of input on which a model that was saved again must give the same bits."""


@dataclass(frozen=True)
class Answers:
    """What one model said.

    Attributes:
        arrays: Results by name; read from the disk when asked for.
        digests: SHA-256 of each canonical weight in memory.
        torch: Whether it computes with PyTorch, in the very steps of the torch twin.
        original: Whether it is the original library's own model of A.
    """

    arrays: Mapping[str, Array]
    digests: dict[str, str]
    torch: bool
    original: bool = False


_NOTHING = Answers({}, {}, False)


@dataclass
class Run:
    """What all processes said.

    Attributes:
        reference: The torch twin of A: in the asked type, and exact.
        subjects: Answers by subject.
        missing: Why a subject has none.
        reloads: Whether models gave the same bits after they were saved again.
        versions: Of every package that took part.
        flags: What sets the arithmetic.
        backends: Keras backends that ran.
        own_inputs: Number of the user's own inputs.
        files: Closes the files that the results are read from.
    """

    reference: Answers = _NOTHING
    subjects: dict[str, Answers] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    reloads: list[Check] = field(default_factory=list)
    versions: dict[str, str] = field(
        default_factory=lambda: {
            "vit-duet": VERSION,
            "python": platform.python_version(),
            "numpy": np.__version__,
        }
    )
    flags: dict[str, str] = field(default_factory=dict)
    backends: tuple[str, ...] = ()
    own_inputs: int = 0
    files: ExitStack = field(default_factory=ExitStack)


def run_models(
    plan: Plan,
    a: Opened,
    b: Opened,
    backends: tuple[str, ...],
    keras_python: Path | None,
    files: ExitStack,
    tell: Callable[[str], None],
) -> Run:
    """Runs the torch twin of A, and B and A wherever they are to run.

    The torch twin and the Keras process of one backend run at the same time; further
    backends one after the other, as each takes all cores.

    Raises:
        ProcessError: If the torch twin cannot be run.
    """
    folder = plan.folder
    ran = Run(files=files)
    case = plan.case()
    jobs = [_job(case, folder, a.canonical(folder), "reference")]
    torch_twin = "B, torch twin"
    if b.keras is None or not backends:
        own = {**case, "config": b.config.to_dict(), "oracle": False}
        jobs.append(_job(own, folder, b.canonical(folder), "torch-b"))
    with ExitStack() as stack:
        beside = "".join(f" and Keras on {name}" for name in backends[:1])
        tell(f"running the torch twin{beside}")
        job = write_job(folder / "reference.json", jobs)
        reference = stack.enter_context(started(REFERENCE, job, "PyTorch", "torch"))
        first = _start(stack, plan, a, b, backends[:1], keras_python)
        told = reference.wait(LIMIT_S)
        _note(ran, told, "torch")
        answers = [
            _read(ran, folder, one, said, True)
            for one, said in zip(jobs, told["cases"], strict=True)
        ]
        ran.reference = answers[0]
        if len(answers) > 1:
            ran.subjects[torch_twin] = answers[1]
        _finish(ran, folder, first)
        for backend in backends[1:]:
            tell(f"running Keras on {backend}")
            with ExitStack() as own_stack:
                more = _start(own_stack, plan, a, b, (backend,), keras_python)
                _finish(ran, folder, more)
    for backend in ran.backends:
        tell(f"loading what Keras on {backend} saved again")
        _reload(ran, plan, backend, keras_python)
    return ran


def run_original(ran: Run, plan: Plan, a: Opened) -> None:
    """Runs the original library's own model of A, or notes why it is not run."""
    label = source_label(a)
    try:
        job, told = run_source(a, plan.case(), plan.folder, LIMIT_S)
    except (UnavailableError, ProcessError) as error:
        ran.missing[label] = str(error)
        return
    _note(ran, told, "original")
    found = _read(ran, plan.folder, job, told["cases"][0], False)
    ran.subjects[label] = replace(found, original=True)


def _job(case: dict[str, Any], folder: Path, model: Path, name: str) -> dict[str, Any]:
    return {**case, "model": str(model), "answers": f"{name}.npz"}


@dataclass(frozen=True)
class _Started:
    backend: str
    labels: tuple[str, ...]
    jobs: tuple[dict[str, Any], ...]
    worker: Worker


def _start(
    stack: ExitStack,
    plan: Plan,
    a: Opened,
    b: Opened,
    backends: tuple[str, ...],
    python: Path | None,
) -> _Started | None:
    if not backends:
        return None
    backend, folder = backends[0], plan.folder
    labels, jobs = [], []
    for opened in (a, b):
        if opened.keras is None and opened is a:
            continue
        role = opened.operand.role
        labels.append(f"{role}, Keras on {backend}")
        case = {**plan.case(), "config": opened.config.to_dict()}
        job = _job(case, folder, opened.for_keras(folder), f"{role}-{backend}")
        jobs.append(job | {"resave": f"again-{role}-{backend}.keras"})
    path = write_job(folder / f"{backend}.json", jobs)
    worker = stack.enter_context(
        started(
            KERAS_WORKER,
            path,
            f"Keras ({backend})",
            backend,
            device=plan.device,
            python=python,
        )
    )
    return _Started(backend, tuple(labels), tuple(jobs), worker)


def _finish(ran: Run, folder: Path, started: _Started | None) -> None:
    if started is None:
        return
    try:
        told = started.worker.wait(LIMIT_S)
    except ProcessError as error:
        ran.missing |= dict.fromkeys(started.labels, str(error))
        return
    _note(ran, told, started.backend)
    ran.backends += (started.backend,)
    pairs = zip(started.labels, started.jobs, told["cases"], strict=True)
    for label, job, said in pairs:
        ran.subjects[label] = _read(ran, folder, job, said, started.backend == "torch")


def _reload(ran: Run, plan: Plan, backend: str, python: Path | None) -> None:
    """Asks models that were saved again once more, in another process."""
    folder = plan.folder
    jobs, labels = [], []
    keep = ("config", "dtype", "device", "batch")
    case = {key: value for key, value in plan.case().items() if key in keep}
    for role in ("A", "B"):
        label, path = (
            f"{role}, Keras on {backend}",
            folder / f"again-{role}-{backend}.keras",
        )
        if label in ran.subjects and path.exists():
            labels.append(label)
            sets = {"sets": {RELOADED: plan.case()["sets"][RELOADED]}}
            jobs.append(_job(case | sets, folder, path, f"again-{role}-{backend}"))
    job = write_job(folder / f"again-{backend}.json", jobs)
    title = f"Keras ({backend})"
    with started(
        KERAS_WORKER, job, title, backend, device=plan.device, python=python
    ) as worker:
        try:
            told = worker.wait(LIMIT_S)
        except ProcessError as error:
            ran.reloads += [_reloaded(label, None, str(error)) for label in labels]
            return
    for label, one, said in zip(labels, jobs, told["cases"], strict=True):
        after = _read(ran, folder, one, said, False).arrays
        key = f"set:{RELOADED}:outputs"
        same = after[key].tobytes() == ran.subjects[label].arrays[key].tobytes()
        ran.reloads.append(_reloaded(label, same))


def _reloaded(label: str, same: bool | None, problem: str = "") -> Check:
    if same is False:
        problem = "other outputs after saving and loading in a new process"
    return Check(
        level="reload",
        name="outputs after saving and loading",
        inputs=RELOADED,
        subject=label,
        meaning="reload",
        status="passed" if same else "failed",
        message=problem,
        same_bits=same,
    )


def _read(
    ran: Run, folder: Path, job: dict[str, Any], said: dict[str, Any], torch: bool
) -> Answers:
    arrays = ran.files.enter_context(np.load(folder / job["answers"]))
    return Answers(arrays, said.get("digests", {}), torch)


def _note(ran: Run, told: dict[str, Any], name: str) -> None:
    ran.versions |= told.get("versions", {})
    ran.flags |= {
        f"{name}: {flag}": str(v) for flag, v in told.get("flags", {}).items()
    }
