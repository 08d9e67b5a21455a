"""What the processes of a test run share is done once, whether it succeeds or not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.once import once

ROOT = Path(__file__).resolve().parent.parent


def counted(count: Path, error: type[BaseException] | None) -> Callable[[], None]:
    def work() -> None:
        with count.open("a") as stream:
            stream.write("x")
        if error:
            raise error("no such backend")

    return work


def test_work_is_done_once(tmp_path: Path) -> None:
    for _ in range(2):
        once(tmp_path / "new" / "done", counted(tmp_path / "count", None))
    assert (tmp_path / "count").read_text() == "x"


def test_failed_work_is_not_repeated_and_says_why(tmp_path: Path) -> None:
    mark, work = tmp_path / "done", counted(tmp_path / "count", ValueError)
    with pytest.raises(ValueError, match="no such backend"):
        once(mark, work)
    with pytest.raises(RuntimeError, match="ValueError: no such backend"):
        once(mark, work)
    code = (
        "import sys, pathlib, tests.once as o; o.once(pathlib.Path(sys.argv[1]), int)"
    )
    command = [sys.executable, "-c", code, str(mark)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no such backend" in done.stderr
    assert (tmp_path / "count").read_text() == "x"


def test_interrupted_work_is_done_again(tmp_path: Path) -> None:
    mark = tmp_path / "done"
    with pytest.raises(KeyboardInterrupt):
        once(mark, counted(tmp_path / "count", KeyboardInterrupt))
    once(mark, counted(tmp_path / "count", None))
    assert (tmp_path / "count").read_text() == "xx"
