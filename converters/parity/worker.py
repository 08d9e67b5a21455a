"""The fresh process: loads Keras files, asks them, writes what they say.

Run as `python -m converters.parity.worker JOB`, with KERAS_BACKEND set. JOB is a JSON
file beside which the inputs lie; the answers are written there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 64


def main(job: Path) -> None:
    """Does what the job says and prints one line of JSON about it."""
    start = time.perf_counter()
    import keras

    import keras_vit  # noqa: F401  (registers the model)

    started = time.perf_counter() - start
    cases = []
    for case in json.loads(job.read_text(encoding="utf-8"))["cases"]:
        start = time.perf_counter()
        model = _load(case)
        seconds = time.perf_counter() - start
        np.savez(job.parent / case["answers"], **_answers(model, case, job.parent))
        cases.append({"load_seconds": seconds})
    done: dict[str, Any] = {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "start_seconds": started,
        "cases": cases,
    }
    print(json.dumps(done))


def _load(case: dict[str, Any]) -> Any:
    """The model of a file; with "dtype", loaded again to compute in that type."""
    import keras_vit
    from vit_config import ViTConfig

    path, dtype = case["model"], case.get("dtype")
    if path.endswith((".keras", ".keras_folder")):
        model = keras_vit.load_model(path)
        return model if dtype is None else keras_vit.load_model(path, dtype=dtype)
    model = keras_vit.ViT(ViTConfig.from_dict(case["config"]), dtype=dtype)
    model.load_weights(path)
    return model


def _answers(model: Any, case: dict[str, Any], folder: Path) -> dict[str, Any]:
    x = np.moveaxis(np.load(folder / case["inputs"]), 1, -1)
    size = case.get("batch", BATCH)
    found = {"outputs": _batched(lambda x: model(x, training=False), x, size)}
    if case.get("tokens"):
        found["tokens"] = _batched(model.forward_features, x[: case["tokens"]], size)
    if case.get("head"):
        tokens = np.load(folder / case["head"])
        found["head"] = _array(model.forward_head(tokens))
    if case.get("layers"):
        _, taps = model.forward_taps(x[: case["layers"]])
        found |= {f"layer:{name}": _array(value) for name, value in taps.items()}
    return found


def _batched(function: Callable[[Any], Any], x: Any, size: int) -> Any:
    parts = [_array(function(x[i : i + size])) for i in range(0, len(x), size)]
    return np.concatenate(parts)


def _array(tensor: Any) -> np.ndarray[Any, np.dtype[Any]]:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(tensor))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
