"""Runs the models of verifications in fresh processes, side by side, many in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from converters.parity.record import Check
from converters.parity.reload import Reloads, saved_again
from converters.parity.run import LIMIT_S, REFERENCE, Answers, Job, Pair, Run, note
from converters.workers.archive import Arrays
from converters.workers.process import (
    KERAS_WORKER,
    ProcessError,
    Worker,
    started,
    write_job,
)


@dataclass(frozen=True)
class _Started:
    backend: str
    jobs: list[Job]
    worker: Worker


class Models:
    """Runs pairs in fresh processes: many of one kind in each.

    Args:
        folder: For the jobs.
        device: `"cpu"` or `"cuda"`.
        backends: Keras backends.
        keras_python: Python of another environment that has Keras.
        files: Closes the files that results are read from.
        tell: Called with a few words as the work goes on.
        reload: Whether Keras models are saved again, and asked in another process.
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        backends: tuple[str, ...],
        keras_python: Path | None,
        files: ExitStack,
        tell: Callable[[str], None],
        reload: bool = True,
    ) -> None:
        self._folder = folder
        self.device = device
        self.backends = backends
        self._python = keras_python
        self._files = files
        self._tell = tell
        self._reload = reload
        self._reloads = Reloads(folder, partial(self._worker, files))
        self._references: dict[Path, Run] = {}

    def run(self, pairs: Sequence[Pair], files: ExitStack | None = None) -> list[Run]:
        """Runs the torch twins of A, and B and A wherever they are to run.

        The process of the torch twins and that of one backend work at the same time;
        further backends one after the other, as each takes all cores. The torch twin
        of a plan is not run again by a later call.

        Args:
            pairs: What to run.
            files: Closes the files of the candidates' results; None: as all others.

        Raises:
            ProcessError: If the torch twins cannot be run.
        """
        backends = self.backends
        jobs = self._reference_jobs(pairs)
        with ExitStack() as stack:
            beside = "".join(f" and Keras on {name}" for name in backends[:1])
            self._tell(f"running the torch twin{beside}")
            path = write_job(self._folder / "reference.json", _fields(jobs))
            torch = stack.enter_context(started(REFERENCE, path, "PyTorch", "torch"))
            first = self._start(stack, pairs, backends[:1])
            if first is not None:
                first.worker.wait_beside(torch)
                self._load_again(first)
            told = torch.wait(LIMIT_S)
            runs = self._runs(pairs, jobs, told, files or self._files)
            self._finish(runs, first)
            for backend in backends[1:]:
                self._tell(f"running Keras on {backend}")
                with ExitStack() as own_stack:
                    more = self._start(own_stack, pairs, (backend,))
                    self._finish(runs, more)
                    self._load_again(more)
        return list(runs.values())

    def reloaded(self, run: Run) -> list[Check]:
        """Whether the models of a run gave the same bits after they were saved again.

        They are loaded beside whatever else is done; this waits for them.
        """
        return self._reloads.checks(run)

    def _reference_jobs(self, pairs: Sequence[Pair]) -> list[Job]:
        """The torch twin of each plan that has none yet, and of B where Keras has no B.

        A plan's own comes before those that are judged by it.
        """
        jobs = []
        planned = set(self._references)
        for pair in pairs:
            pair.folder.mkdir(exist_ok=True)
            home = pair.plan.folder
            if home not in planned:
                fields = pair.job("A", pair.a, pair.a.canonical(home), "reference")
                jobs.append(Job(pair, "", fields))
                planned.add(home)
            if pair.b.keras is None or not self.backends:
                model = pair.b.canonical(pair.folder)
                fields = pair.job("B", pair.b, model, "torch-b") | {"oracle": False}
                jobs.append(Job(pair, "B, torch twin", fields))
        return jobs

    def _runs(
        self,
        pairs: Sequence[Pair],
        jobs: Sequence[Job],
        told: dict[str, Any],
        files: ExitStack,
    ) -> dict[Pair, Run]:
        """A run for every pair, with what the torch twins said."""
        for job, said in zip(jobs, told["cases"], strict=True):
            if not job.label:
                found = Run(files=self._files)
                found.reference = _read(found, job, said, True)
                note(found, told, "torch")
                self._references[job.pair.plan.folder] = found
        runs = {
            pair: self._references[pair.plan.folder].another(files) for pair in pairs
        }
        for job, said in zip(jobs, told["cases"], strict=True):
            if job.label:
                _take(runs[job.pair], job, said, True)
        return runs

    def _start(
        self, stack: ExitStack, pairs: Sequence[Pair], backends: tuple[str, ...]
    ) -> _Started | None:
        if not backends:
            return None
        backend = backends[0]
        jobs: list[Job] = []
        planned: set[Path] = set()
        for pair in pairs:
            home = pair.plan.folder
            if pair.a.keras is not None and home not in planned:
                fields = pair.job("A", pair.a, pair.a.keras, f"A-{backend}")
                jobs.append(Job(pair, f"A, Keras on {backend}", fields))
            planned.add(home)
            model = pair.b.for_keras(pair.folder)
            fields = pair.job("B", pair.b, model, f"B-{backend}")
            if pair.fault:
                fields["fault"] = pair.fault
            jobs.append(Job(pair, f"B, Keras on {backend}", fields))
        for job in jobs:
            job.fields["alone"] = True
            if self._reload:
                job.fields["resave"] = saved_again(job)
        path = write_job(self._folder / f"{backend}.json", _fields(jobs))
        return _Started(backend, jobs, self._worker(stack, path, backend))

    def _load_again(self, started: _Started | None) -> None:
        """Begins to load what was saved again; what failed is told by `_finish`."""
        if started is None or not self._reload:
            return
        with suppress(ProcessError):
            cases = started.worker.wait(0)["cases"]
            self._reloads.begin(started.backend, started.jobs, cases)

    def _worker(self, stack: ExitStack, path: Path, backend: str) -> Worker:
        return stack.enter_context(
            started(
                KERAS_WORKER,
                path,
                f"Keras ({backend})",
                backend,
                device=self.device,
                python=self._python,
            )
        )

    def _finish(self, runs: dict[Pair, Run], started: _Started | None) -> None:
        if started is None:
            return
        try:
            told = started.worker.wait(LIMIT_S)
        except ProcessError as error:
            for job in started.jobs:
                for run in _of(runs, job):
                    run.missing[job.label] = str(error)
            return
        for run in runs.values():
            note(run, told, started.backend)
            run.backends += (started.backend,)
        for job, said in zip(started.jobs, told["cases"], strict=True):
            for run in _of(runs, job):
                _take(run, job, said, started.backend == "torch")


def _fields(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    return [job.fields for job in jobs]


def _of(runs: dict[Pair, Run], job: Job) -> list[Run]:
    """The runs that a job is for: those of A's models are for the whole plan."""
    if job.label.startswith("B"):
        return [runs[job.pair]]
    return [run for pair, run in runs.items() if pair.plan is job.pair.plan]


def _take(run: Run, job: Job, said: dict[str, Any], torch: bool) -> None:
    if "error" in said:
        run.missing[job.label] = said["error"]
        return
    run.subjects[job.label] = _read(run, job, said, torch)
    run.jobs[job.label] = job


def _read(run: Run, job: Job, said: dict[str, Any], torch: bool) -> Answers:
    path = job.pair.plan.folder / job.fields["answers"]
    arrays = run.files.enter_context(Arrays(path))
    return Answers(arrays, said.get("digests", {}), torch)
