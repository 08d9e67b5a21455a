"""The fresh process: loads `.keras` files, asks them, writes what they say.

Run as `python -m converters.demo.worker JOB`, with KERAS_BACKEND set. JOB is a JSON
file beside which the inputs lie; the answers are written there.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 64


def main(job: Path) -> None:
    """Does what the job says and prints one line of JSON about it."""
    start = time.perf_counter()
    import keras

    import keras_vit

    started = time.perf_counter() - start
    cases = []
    for case in json.loads(job.read_text(encoding="utf-8"))["cases"]:
        start = time.perf_counter()
        model = keras_vit.load_model(case["model"])
        seconds = time.perf_counter() - start
        x = np.moveaxis(np.load(job.parent / case["inputs"]), 1, -1)
        parts = [
            _array(model(x[i : i + BATCH], training=False))
            for i in range(0, len(x), BATCH)
        ]
        found: dict[str, Any] = {"outputs": np.concatenate(parts)}
        _, taps = model.forward_taps(x[: case["layers"]])
        found |= {f"layer:{name}": _array(value) for name, value in taps.items()}
        np.savez(job.parent / case["answers"], **found)
        cases.append({"load_seconds": seconds})
    done: dict[str, Any] = {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "start_seconds": started,
        "cases": cases,
    }
    print(json.dumps(done))


def _array(tensor: Any) -> np.ndarray[Any, np.dtype[Any]]:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(tensor))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
