"""Workers do not outlive the process that started them, nor keep it waiting."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from converters.workers.process import ProcessError, started

PARENT = """
import sys, time
from pathlib import Path
from converters.workers.process import started

job = Path(sys.argv[1])
job.write_text("{}")
with started("tests.laboratory.sleeper", job, "sleeper", "torch") as worker:
    print(worker._process.pid, flush=True)
    time.sleep(600)
"""


def test_a_killed_parent_takes_its_worker_along(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "job.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        time.sleep(1)
        assert child.status() != psutil.STATUS_ZOMBIE, "it ended by itself"
        parent.kill()
    gone, alive = psutil.wait_procs([child], timeout=60)
    for process in alive:
        process.kill()
    assert gone


def test_nobody_waits_for_a_worker_that_waits_for_a_failed_one(tmp_path: Path) -> None:
    sleeps, fails = tmp_path / "sleeps.json", tmp_path / "fails.json"
    module = "tests.laboratory.sleeper"
    with (
        started(module, sleeps, "sleeper", "torch") as sleeper,
        started("tests.laboratory.absent", fails, "absent", "torch") as absent,
    ):
        sleeper.wait_beside(absent)
        with pytest.raises(ProcessError, match="absent failed in its process"):
            absent.wait(0)
        with pytest.raises(ProcessError, match="sleeper was not done"):
            sleeper.wait(0)
