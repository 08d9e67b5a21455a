"""What the programs that answer cases have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from converters.workers.device import UNAVAILABLE, UnavailableError
from converters.workers.orphan import leave_with_parent

Case = dict[str, Any]


def run(main: Callable[[Path], None], job: Path) -> int:
    """`main`, and the exit code: what cannot be computed here is one line.

    Args:
        main: Does what a job says.
        job: The job's file.
    """
    leave_with_parent()
    try:
        main(job)
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return UNAVAILABLE
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed there", file=sys.stderr)
        return UNAVAILABLE
    return 0


def answered(answer: Callable[[Case, Path], Case], case: Case, job: Path) -> Case:
    """What is said about one case.

    A case has "folder" if its files do not lie beside the job. One that says `"alone"`
    may fail without the others: `"error"` says how.

    Args:
        answer: Answers a case whose files are in a folder.
        case: The case.
        job: The job's file.
    """
    folder = Path(case.get("folder", job.parent))
    if not case.get("alone"):
        return answer(case, folder)
    try:
        return answer(case, folder)
    except (UnavailableError, ModuleNotFoundError, MemoryError):
        raise
    except Exception as error:  # whatever a library may say of a wrong model
        lines = str(error).strip().splitlines() or [""]
        return {"error": f"fails with {type(error).__name__}: {lines[0]}"}
