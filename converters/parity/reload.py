"""Asks what Keras models saved of themselves, in new processes beside other work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from converters.parity.record import Check
from converters.parity.run import LIMIT_S, RELOADED, Job, Run
from converters.workers.archive import Arrays
from converters.workers.process import ProcessError, Worker, write_job

_KEPT = ("folder", "config", "dtype", "device", "batch")


def saved_again(job: Job) -> str:
    """Where a model saves itself, in its plan's folder."""
    return f"{Path(job.fields['answers']).with_suffix('')}-again.keras"


class Reloads:
    """One process for each backend, one after the other; nobody waits for the last one.

    Args:
        folder: For the jobs.
        start: Starts a worker for a job on a backend.
    """

    def __init__(self, folder: Path, start: Callable[[Path, str], Worker]) -> None:
        self._folder = folder
        self._start = start
        self._running: tuple[list[Job], Worker] | None = None
        self._said: list[tuple[Job, dict[str, Any]]] = []

    def begin(
        self, backend: str, jobs: Sequence[Job], cases: Sequence[dict[str, Any]]
    ) -> None:
        """Starts the process of a backend, once that of the last one is done.

        Args:
            backend: Keras' backend.
            jobs: What its models were asked.
            cases: What they said; those that failed saved nothing.
        """
        self._wait()
        done = zip(jobs, cases, strict=True)
        again = [_again(job) for job, said in done if "error" not in said]
        if again:
            fields = [job.fields for job in again]
            path = write_job(self._folder / f"again-{backend}.json", fields)
            self._running = again, self._start(path, backend)

    def checks(self, run: Run) -> list[Check]:
        """Whether the models of a run gave the same bits, once the last one is done."""
        self._wait()
        return [
            _check(run, job, said)
            for job, said in self._said
            if job.label in run.jobs and run.jobs[job.label].pair is job.pair
        ]

    def _wait(self) -> None:
        if self._running is None:
            return
        jobs, worker = self._running
        self._running = None
        try:
            cases = worker.wait(LIMIT_S)["cases"]
        except ProcessError as error:
            cases = [{"error": str(error)}] * len(jobs)
        self._said += zip(jobs, cases, strict=True)


def _again(job: Job) -> Job:
    """The same question to what a job's model saved."""
    fields = {name: value for name, value in job.fields.items() if name in _KEPT}
    fields["sets"] = {RELOADED: job.fields["sets"][RELOADED]}
    fields["model"] = str(job.pair.plan.folder / saved_again(job))
    fields["answers"] = f"{job.fields['answers']}.again"
    return Job(job.pair, job.label, fields)


def _check(run: Run, job: Job, said: dict[str, Any]) -> Check:
    same, problem = None, said.get("error", "")
    if not problem:
        key = f"set:{RELOADED}:outputs"
        with Arrays(job.pair.plan.folder / job.fields["answers"]) as after:
            same = after[key].tobytes() == run.subjects[job.label].arrays[key].tobytes()
        if not same:
            problem = "other outputs after saving and loading in a new process"
    return Check(
        level="reload",
        name="outputs after saving and loading",
        inputs=RELOADED,
        subject=job.label,
        meaning="reload",
        status="passed" if same else "failed",
        message=problem,
        same_bits=same,
    )
