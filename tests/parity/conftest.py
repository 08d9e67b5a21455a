"""One process per backend and device computes everything, when first asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from dataclasses import replace
from pathlib import Path

import pytest

from tests.once import shared_folder
from tests.parity import suite
from tests.parity.protocol import Arrays, Job
from tests.parity.rms import Verdict
from tests.parity.runs import Results, run_worker
from tests.saving.backends import PROCESSES, available

KEPT = 24
"""Reference results kept: a case comes for one backend after the other."""


def why_no_cuda(backend: str) -> str | None:
    """The reason why a backend cannot run on CUDA, as far as this process can tell."""
    if backend == "torch":
        import torch

        return None if torch.cuda.is_available() else "torch sees no CUDA device"
    found = find_library("cuda")
    return None if found else f"{backend}: no CUDA device (no NVIDIA driver)"


class Runs:
    """The processes of a session.

    Args:
        folder: Where they write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._done: dict[tuple[str, ...], Results] = {}
        self._known: dict[tuple[str, str], Arrays] = {}
        self._begun = False

    def default(self, backend: str, device: str = "cpu") -> Results:
        """Results of the default jobs, goldens included."""
        goldens = suite.golden_share(backend, available()) if device == "cpu" else []
        jobs = suite.default_jobs(backend, available())
        if device == "cuda":
            jobs = [job for job in jobs if job.dtype == "float32" and not job.mutant]
        return self._run("default", backend, device, jobs, goldens)

    def slow(self, backend: str, device: str = "cpu") -> Results:
        """Results of all jobs, goldens included; on the CPU backends run side by side.

        JAX first: it compiles for as long as the others take together.
        """
        if device == "cpu" and not self._begun:
            self._begun = True
            with ThreadPoolExecutor(PROCESSES) as pool:  # waits for all at its end
                for name in ("jax", "tensorflow", "torch"):
                    if name in available():
                        pool.submit(self._slow, name, device)
        return self._slow(backend, device)

    def _slow(self, backend: str, device: str) -> Results:
        goldens = suite.golden_share(backend, (), True)
        return self._run("slow", backend, device, suite.slow_jobs(backend), goldens)

    def clean(self, backend: str) -> Results:
        """Results of the pairs that false alarms are counted on."""
        return self._run("clean", backend, "cpu", suite.clean_jobs(), [])

    def reference(self, job: Job, device: str = "cpu") -> Arrays:
        """The torch twin's results, on the same device if torch sees it."""
        import torch

        from tests.parity.reference import TorchTwin

        if not torch.cuda.is_available():
            device = "cpu"
        key = (job.key, device)
        if key not in self._known:
            if len(self._known) == KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[key] = TorchTwin(device).run(job)
        return self._known[key]

    def verdicts(
        self, job: Job, results: Results, device: str = "cpu"
    ) -> list[Verdict]:
        """A job by the RMS rule; a mutant is compared with what it should have been."""
        clean = replace(job, mutant="")
        exact = self.reference(replace(clean, dtype="float64"))
        return suite.judge(
            job, results.of(job.key), self.reference(clean, device), exact
        )

    def _run(
        self,
        kind: str,
        backend: str,
        device: str,
        jobs: Iterable[Job],
        goldens: Iterable[str],
    ) -> Results:
        key = (kind, backend, device)
        if device == "cuda" and (reason := why_no_cuda(backend)):
            pytest.skip(reason)
        if key not in self._done:
            folder = self.folder / "-".join(key)
            drawing = "default" if backend == suite.DRAWING else "slow"
            fresh = suite.FRESH if kind == drawing and device == "cpu" else {}
            self._done[key] = run_worker(backend, folder, jobs, goldens, device, fresh)
        if note := self._done[key].note:
            pytest.skip(note)
        return self._done[key]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The processes of this session."""
    return Runs(shared_folder(tmp_path_factory, "parity"))


@pytest.fixture(autouse=True, scope="package")
def settled() -> Iterator[None]:
    """Exact float32, one thread; what was set before comes back."""
    try:
        import torch
    except ModuleNotFoundError:
        yield
        return
    from tests.parity import reference

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with reference.settled(device):
        yield
