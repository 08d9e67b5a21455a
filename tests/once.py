"""Work whose results all processes of one test run share.

pytest-xdist gives every process its own session, so that what a session makes once
would be made once by each of them.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder that all processes of this test run have in common."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / name
    folder.mkdir(exist_ok=True)
    return folder


def once(mark: Path, work: Callable[[], object]) -> None:
    """Does work that leaves files, unless another process has done it.

    What failed fails again, without being done again.

    Args:
        mark: A file that says so; its folder is made.
        work: What to do.

    Raises:
        RuntimeError: If the work failed when another one did it.
    """
    mark.parent.mkdir(parents=True, exist_ok=True)
    failed = mark.with_name(f"{mark.name}.failed")
    with FileLock(f"{mark}.lock"):
        if failed.exists():
            raise RuntimeError(f"failed before:\n{failed.read_text('utf-8')}")
        if not mark.exists():
            try:
                work()
            except Exception:
                failed.write_text(traceback.format_exc(), "utf-8")
                raise
            mark.touch()
