"""One contender's process: loads its model, then runs rounds when it is told to.

Run as `python -m converters.benchmark.worker JOB`. JOB is a JSON file with "kind"
(`torch`, `keras`, `library`, `keras_hub`, `artifact`), "model", "config", "threads",
"inputs" (a `.npy` of (B, C, *spatial)), and by kind "compile", "fresh", "source",
"format". On standard input come lines of JSON: `{"answer": FILE, "batch": N}` writes
outputs, `{"batch": N, "seconds": S}` runs a round. Each is answered by one line. The
process ends with its standard input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.benchmark.memory import peak_bytes
from converters.workers.device import UNAVAILABLE, UnavailableError

Array = NDArray[Any]

LEAST_CALLS = 3


def main(job: Path) -> None:
    """Does what standard input says until it ends."""
    # Libraries print; only answers may get to the process that reads them.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(said: dict[str, Any]) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    fields = json.loads(job.read_text(encoding="utf-8"))
    inputs = np.load(job.parent / fields["inputs"], allow_pickle=False)
    from converters.benchmark import contenders

    before = time.perf_counter()
    load = getattr(contenders, fields["kind"])(fields, job.parent)
    start = time.perf_counter()
    contender = load()
    loaded = time.perf_counter()
    tell(
        {
            "import_seconds": start - before,
            "load_seconds": loaded - start,
            "library": contender.library,
        }
    )
    given: dict[int, Any] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        size = asked["batch"]
        if size not in given:
            given[size] = contender.prepare(np.ascontiguousarray(inputs[:size]))
        if "answer" in asked:
            np.save(asked["answer"], contender.call(given[size]))
            tell({})
        else:
            seconds = _round(contender.call, given[size], asked["seconds"])
            tell({"seconds": seconds, "peak_bytes": peak_bytes()})


def _round(call: Any, x: Any, limit: float) -> list[float]:
    """Seconds of each call; as many as fit, and at least `LEAST_CALLS`."""
    found: list[float] = []
    end = time.perf_counter() + limit
    while len(found) < LEAST_CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        call(x)
        found.append(time.perf_counter() - start)
    return found


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except UnavailableError as error:
        print(error, file=sys.stderr)
        sys.exit(UNAVAILABLE)
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed there", file=sys.stderr)
        sys.exit(UNAVAILABLE)
