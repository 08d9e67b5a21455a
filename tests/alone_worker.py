"""The process of `verify` that runs Keras, `alone` with its backend.

`python -m tests.alone_worker JOB` does what `python -m converters.workers.worker JOB`
does, in half of the time.
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path

from converters.workers.process import KERAS_WORKER, Worker
from tests.alone import leave_out_others, remember_skipped


class AloneWorker(Worker):
    """Starts this module where Keras is to be run by this Python."""

    def __init__(
        self,
        module: str,
        job: Path,
        label: str,
        backend: str,
        device: str = "cpu",
        python: Path | None = None,
    ) -> None:
        if module == KERAS_WORKER and python is None:
            module = __name__
        super().__init__(module, job, label, backend, device, python)


if __name__ == "__main__":
    leave_out_others(os.environ["KERAS_BACKEND"])
    remember_skipped()
    runpy.run_module(KERAS_WORKER, run_name="__main__", alter_sys=True)
