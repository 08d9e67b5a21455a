"""The fresh processes of `quantize`: one makes the file, another loads and times it.

Run as `python -m converters.quantization.worker JOB`, in the environment that
`converters.workers.process` makes. JOB is JSON, `{"cases": [...]}`; each case has
"float" (a `.keras` in float32), "quantized" (the `.keras` to write or to load),
"inputs" (float32 numbers, (B, C, *spatial) one after the other), "count", "batch" and
"answers". The first process has "make": true.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.workers.archive import Archive
from converters.workers.device import versions
from converters.workers.program import answered, run

Array = NDArray[Any]

MODE = "int8"
ROUNDS, ROUND_S = 7, 0.2
"""Turns of each model, and about how long one is."""


def main(job: Path) -> None:
    """Does what the job says and prints one line of JSON about it."""
    asked = json.loads(job.read_text(encoding="utf-8"))["cases"]
    print(json.dumps({"cases": [answered(_do, case, job) for case in asked]}))


def _do(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    import keras

    done = _make(case, folder) if case.get("make") else _reload(case, folder)
    found = versions("keras", keras.backend.backend())
    found.pop("python", None)
    return {**done, "versions": found}


def _make(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Quantises a model, and says what it gave before and after."""
    import keras_vit

    guard: Any = import_module("keras_vit.guard")
    model = keras_vit.load_model(case["float"])
    vit = getattr(model, "vit", model)
    with Archive(folder / case["answers"]) as answers:
        _answer(answers, "before", model, case, folder)
        before = _bytes(vit)
        with warnings.catch_warnings():  # convolutions and norms stay as they are
            warnings.filterwarnings("ignore", "Layer .* does not have a `quantize` met")
            vit.quantize(MODE)
        _answer(answers, "after", model, case, folder)
    model.save(case["quantized"])
    layers = [layer for layer in guard.all_layers(vit) if guard.is_quantized(layer)]
    return {
        "layers": [vit.relative_path(layer) for layer in layers],
        "weight_bytes": [before, _bytes(vit)],
    }


def _reload(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the written file gives in a process that knows nothing else; and speed."""
    import keras_vit

    quantized = keras_vit.load_model(case["quantized"])
    with Archive(folder / case["answers"]) as answers:
        _answer(answers, "after", quantized, case, folder)
    vit = getattr(quantized, "vit", quantized)
    single = keras_vit.load_model(case["float"])
    x = next(_batches(case, folder, vit.config))
    x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    models = [getattr(single, "vit", single), vit]
    return {"seconds": _times([model.predict_on_batch for model in models], x)}


def _answer(
    answers: Archive, name: str, model: Any, case: dict[str, Any], folder: Path
) -> None:
    """What the model gives for all inputs."""
    from converters.workers.keras_runner import KerasRunner

    runner = KerasRunner(model)
    parts = [runner.outputs(x) for x in _batches(case, folder, runner.config)]
    answers.add(name, np.concatenate(parts))


def _batches(case: dict[str, Any], folder: Path, config: Any) -> Iterator[Array]:
    """Inputs (B, C, *spatial)."""
    shape = (case["count"], config.in_chans, *config.img_size)
    x = np.memmap(folder / case["inputs"], np.float32, "r", shape=shape)
    for start in range(0, len(x), case["batch"]):
        yield np.array(x[start : start + case["batch"]])


def _bytes(vit: Any) -> int:
    return sum(np.asarray(weight).nbytes for weight in vit.weights)


def _times(calls: list[Callable[[Array], Any]], x: Array) -> list[float]:
    """Seconds of one call of each: the median over turns that they take."""
    for call in calls:
        call(x)  # traces or compiles
    found: list[list[float]] = [[] for _ in calls]
    for turn in range(ROUNDS):
        for index in range(len(calls)):
            which = (index + turn) % len(calls)
            start, count = time.perf_counter(), 0
            while not count or time.perf_counter() - start < ROUND_S:
                calls[which](x)
                count += 1
            found[which].append((time.perf_counter() - start) / count)
    return [median(times) for times in found]


if __name__ == "__main__":
    sys.exit(run(main, Path(sys.argv[1])))
