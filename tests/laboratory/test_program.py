"""A case that fails ends its process, unless it says that it stands alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from converters.workers.device import UnavailableError
from converters.workers.program import answered

JOB = Path("somewhere") / "job.json"


def answer(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    if "raises" in case:
        raise case["raises"]
    return {"folder": folder}


def test_files_lie_beside_the_job_or_where_the_case_says():
    assert answered(answer, {}, JOB) == {"folder": Path("somewhere")}
    assert answered(answer, {"folder": "/other"}, JOB) == {"folder": Path("/other")}


def test_a_case_that_stands_alone_says_how_it_failed_in_one_line():
    case = {"alone": True, "raises": ValueError("shapes differ\nand more")}
    assert answered(answer, case, JOB) == {
        "error": "fails with ValueError: shapes differ"
    }
    with pytest.raises(ValueError, match="shapes differ"):
        answered(answer, {"raises": ValueError("shapes differ")}, JOB)


@pytest.mark.parametrize(
    "error", [UnavailableError("no GPU"), ModuleNotFoundError("keras"), MemoryError()]
)
def test_what_ails_the_whole_process_ends_it(error):
    with pytest.raises(type(error)):
        answered(answer, {"alone": True, "raises": error}, JOB)
