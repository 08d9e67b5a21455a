"""The fresh process that runs an artifact by its own runtime, and nothing of ours.

Run as `python -m converters.runtimes.checker JOB`. JOB is a JSON file,
`{"cases": [...]}`; a case has "format", "artifact", "inputs" (a `.npy`), "batches"
(sizes, whose sum is the number of inputs), "answers", and with `serve_bytes` "pictures"
or "volumes": `.npy` files of pixels or voxels, (*spatial, C) each.

Neither twin, nor the schema, nor Keras can be imported here: an artifact that needed
one of them would fail.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters.runtimes.base import Array, open_artifact
from converters.workers.archive import Archive
from converters.workers.program import answered, run

BARRED = ("vit_config", "torch_vit", "keras_vit", "keras", "tf_keras")


class _Without:
    """A finder of modules that does not find those of `BARRED`."""

    def __init__(self, finder: Any) -> None:
        self._finder = finder

    def find_spec(self, fullname: str, *rest: Any, **more: Any) -> Any:
        if fullname.partition(".")[0] in BARRED:
            return None
        return self._finder.find_spec(fullname, *rest, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)  # the versions of packages are asked for


def bar() -> None:
    """From here on, what is in `BARRED` cannot be imported."""
    if early := sys.modules.keys() & set(BARRED):
        raise RuntimeError(f"imported already: {sorted(early)}")
    sys.meta_path[:] = [_Without(finder) for finder in sys.meta_path]


def main(job: Path) -> None:
    """Does what the job says and prints one line of JSON about it."""
    bar()
    asked = json.loads(job.read_text(encoding="utf-8"))["cases"]
    print(json.dumps({"cases": [answered(_asked, case, job) for case in asked]}))


def _asked(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    artifact: Any = open_artifact(Path(case["artifact"]), case["format"])
    x = np.load(folder / case["inputs"])
    found = _collected(artifact.outputs(part) for part in _parts(x, case["batches"]))
    arrays = {f"serving_default:{name}": array for name, array in found.items()}
    for kind, sent in (("pictures", _encoded), ("volumes", voxels)):
        if case.get(kind):
            given = [np.load(folder / file) for file in case[kind]]
            arrays |= _bytes(artifact, sent, given)
    with Archive(folder / case["answers"]) as archive:
        for name, array in arrays.items():
            archive.add(name, array)
    facts = json.dumps(artifact.facts, sort_keys=True)
    return {"versions": artifact.versions, "facts": facts}


def _parts(x: Array, sizes: list[int]) -> Iterator[Array]:
    start = 0
    for size in sizes:
        yield x[start : start + size]
        start += size


def _bytes(
    artifact: Any, sent: Callable[[list[Array]], dict[str, Any]], given: list[Array]
) -> dict[str, Array]:
    """One alone, then the others together."""
    batches = [given[:1], given[1:]]
    found = _collected(artifact.call("serve_bytes", **sent(one)) for one in batches)
    return {f"serve_bytes:{name}": array for name, array in found.items()}


def _encoded(pictures: list[Array]) -> dict[str, Any]:
    """As PNG, which loses nothing."""
    import tensorflow as tf

    return {"image_bytes": [tf.io.encode_png(one).numpy() for one in pictures]}


def voxels(volumes: list[Array]) -> dict[str, Any]:
    """What `serve_bytes` takes of volumes (*spatial, C)."""
    return {
        "volume_bytes": [one.tobytes() for one in volumes],
        "dtype": [one.dtype.name for one in volumes],
        "shape": np.array([one.shape for one in volumes], np.int32),
    }


def _collected(answers: Iterator[dict[str, Array]]) -> dict[str, Array]:
    """Answers to batches, joined; strings as text."""
    whole = list(answers)
    joined = {name: np.concatenate([one[name] for one in whole]) for name in whole[0]}
    return {
        name: _text(array) if array.dtype == object else array
        for name, array in joined.items()
    }


def _text(array: Array) -> Array:
    decoded = [value.decode() for value in array.ravel()]
    return np.array(decoded).reshape(array.shape)


if __name__ == "__main__":
    sys.exit(run(main, Path(sys.argv[1])))
