"""Processes that run one after the other, a round at a time."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from converters.workers.device import UNAVAILABLE, environment
from converters.workers.process import (
    ProcessError,
    UnavailableProcessError,
    packages_for,
)

WORKER = "converters.benchmark.worker"
THREADS = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)


class Turns:
    """A contender in a process of its own, that waits for its turn.

    Args:
        name: What to call it in messages.
        fields: The job, see `converters.benchmark.worker`.
        folder: An empty folder for it.
        backend: Keras' backend there.
        python: Python of another environment; None for this one.
        limit: Seconds that one turn may take, loading and compiling included.

    Raises:
        ProcessError: If that Python cannot be run.
    """

    def __init__(
        self,
        name: str,
        fields: dict[str, Any],
        folder: Path,
        backend: str,
        python: Path | None,
        limit: float,
    ) -> None:
        self.name, self._limit = name, limit
        job = folder / "job.json"
        job.write_text(json.dumps(fields), encoding="utf-8")
        self._errors = folder / "errors.txt"
        threads = dict.fromkeys(THREADS, str(fields["threads"]))
        surroundings = {
            **os.environ,
            **environment("cpu"),
            **threads,
            "KERAS_BACKEND": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONPATH": packages_for(python, folder),
        }
        cores = sorted(usable_cores())[: fields["threads"]]
        with self._errors.open("wb") as errors:
            try:
                self._process = subprocess.Popen(
                    [str(python or sys.executable), "-P", "-m", WORKER, str(job)],
                    env=surroundings,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                )
            except OSError as error:
                raise ProcessError(
                    f"{name}: {python} cannot be run: {error.strerror}"
                ) from None
        self._asks = cast(BinaryIO, self._process.stdin)
        self._answers = cast(BinaryIO, self._process.stdout)
        if hasattr(os, "sched_setaffinity"):
            # What has no option for threads takes as many as it may use cores.
            os.sched_setaffinity(self._process.pid, cores)

    def ask(self, **asked: Any) -> dict[str, Any]:
        """Gives it a turn and waits for its answer.

        Raises:
            ProcessError: If it fails, with the last line of what it said.
        """
        try:
            self._asks.write(json.dumps(asked).encode() + b"\n")
            self._asks.flush()
        except BrokenPipeError:
            raise self._failed() from None
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Its next answer.

        Raises:
            ProcessError: If it fails, or takes too long.
        """
        end = time.monotonic() + self._limit
        text = b""
        while not text.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                raise ProcessError(f"{self.name} was not done after {self._limit:g} s")
            part = os.read(self._answers.fileno(), 1 << 16)
            if not part:
                raise self._failed()
            text += part
        found: dict[str, Any] = json.loads(text)
        return found

    def _failed(self) -> ProcessError:
        code = self._process.wait()
        lines = self._errors.read_text("utf-8", "replace").strip().splitlines()
        line = next(
            (one for one in reversed(lines) if one.strip()), f"exit code {code}"
        )
        if code == UNAVAILABLE:
            return UnavailableProcessError(f"{self.name}: {line}")
        return ProcessError(f"{self.name} failed in its process: {line}")

    def stop(self) -> None:
        """Ends it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._asks.close()
        self._answers.close()


def usable_cores() -> set[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))
