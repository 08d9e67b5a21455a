"""The fresh process: loads Keras files, asks them, writes what they say.

Run as `python -m converters.workers.worker JOB`, in the environment that
`converters.workers.process` makes. JOB is a JSON file, `{"cases": [...]}`. A case
has "model", "answers", what `converters.workers.answers` knows, "dtype", the type to
compute in, by default the model's own, and "device". "fault" names one of
`converters.parity.faults` that the loaded model gets: to see whether it is found.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from converters.workers.device import check_dtype, device_of, flags, settle, versions
from converters.workers.process import loaded_mark
from converters.workers.program import answered, run


def main(job: Path) -> None:
    """Does what the job says and prints one line of JSON about it."""
    start = time.perf_counter()
    import keras

    import keras_vit  # noqa: F401  (registers the model)

    backend = keras.backend.backend()
    asked = json.loads(job.read_text(encoding="utf-8"))["cases"]
    device = device_of(asked)
    settle(backend, device)
    started = time.perf_counter() - start
    answer = partial(_asked, backend=backend)
    cases = [answered(answer, case, job) for case in asked]
    packages = ("keras", backend, "numpy", "h5py")
    done: dict[str, Any] = {
        "backend": backend,
        "keras": keras.__version__,
        "versions": versions(*packages),
        "flags": flags(backend, device),
        "start_seconds": started,
        "cases": cases,
    }
    print(json.dumps(done))


def _asked(fields: dict[str, Any], folder: Path, backend: str) -> dict[str, Any]:
    from converters.workers.answers import Case
    from converters.workers.archive import Archive
    from converters.workers.keras_runner import KerasRunner

    dtype = fields.get("dtype")
    check_dtype(backend, dtype or "float32")

    def fresh(dtype: str | None = dtype) -> KerasRunner:
        model = _load(fields, dtype)
        if fields.get("fault"):
            from converters.parity.faults import inject

            inject(getattr(model, "vit", model), fields["fault"])
        return KerasRunner(model)

    start = time.perf_counter()
    runner = fresh(None)
    with Archive(folder / fields["answers"]) as archive:
        case = Case(fields, folder, archive, fresh)
        said = case.look(runner)
        if dtype is not None and runner.model.dtype_policy.name != dtype:
            del runner  # two of them need not fit into memory
            runner = fresh()
        said["load_seconds"] = time.perf_counter() - start
        (folder / loaded_mark(fields)).touch()
        case.outputs(runner)
        case.raw(runner)
        case.layers(runner)
        case.forced(runner)
        case.gradients(runner)
        del runner
        case.training()
    return said


def _load(case: dict[str, Any], dtype: str | None) -> Any:
    """The model of a file, to compute in a type."""
    import keras_vit
    from vit_config import ViTConfig

    path = case["model"]
    if path.endswith((".keras", ".keras_folder")):
        return keras_vit.load_model(path, dtype=dtype)
    model = keras_vit.ViT(ViTConfig.from_dict(case["config"]), dtype=dtype)
    model.load_weights(path)
    return model


if __name__ == "__main__":
    sys.exit(run(main, Path(sys.argv[1])))
