"""Work whose results all processes of one test run share.

pytest-xdist gives every process its own session, so that what a session makes once
would be made once by each of them.
"""

from __future__ import annotations

import os
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

    Args:
        mark: A file that says so; its folder is made.
        work: What to do. If it raises, nothing is marked.
    """
    mark.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{mark}.lock"):
        if not mark.exists():
            work()
            mark.touch()
