"""A worker that has all the time in the world: `python -m tests.laboratory.sleeper`."""

from __future__ import annotations

import time

from converters.workers.orphan import leave_with_parent

if __name__ == "__main__":
    leave_with_parent()
    time.sleep(600)
