"""Asks an exported artifact, in the fresh process of its runtime or over HTTP.

Run as `python -m converters.parity.exported.runner JOB` for a file or folder. JOB is a
JSON file, `{"cases": [...]}`; a case has "format", "artifact", "sets" and "batch" as in
`converters.workers.answers`, "names" (what the twins call its outputs), "answers", and
perhaps "raw", encoded pictures or `.npy` files of voxels by name. Neither twin nor the
schema nor Keras can be imported there.

The answers: `set:KIND:outputs`, `:pooled` and `:tokens` as the artifact has them,
`bytes:NAME:...` of raw ones, and `set:noise:probabilities`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from converters.runtimes.base import open_artifact
from converters.runtimes.checker import bar, voxels
from converters.workers.archive import Archive
from converters.workers.program import answered, run

Array = NDArray[Any]

OUTPUTS, PROBABILITIES = "outputs", "probabilities"


class Asked(Protocol):
    """An artifact, or a served model."""

    def outputs(self, x: Array) -> dict[str, Array]:
        """Every named output for prepared inputs (B, C, *spatial)."""

    def call(self, signature: str, **inputs: Any) -> dict[str, Array]:
        """Every named output of a signature, for inputs as it takes them."""


def main(job: Path) -> None:
    """Does what the job says and prints one line of JSON about it."""
    bar()
    asked = json.loads(job.read_text(encoding="utf-8"))["cases"]
    print(json.dumps({"cases": [answered(_asked, case, job) for case in asked]}))


def _asked(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    artifact = open_artifact(Path(case["artifact"]), case["format"])
    ask(artifact, case, folder)  # type: ignore[arg-type]  # only some have `call`
    return {"versions": dict(artifact.versions)}


def ask(model: Asked, case: Mapping[str, Any], folder: Path) -> None:
    """Writes what a model answers.

    Args:
        model: The artifact, or the served model.
        case: What is asked.
        folder: Where its files are, and the answers go.

    Raises:
        ValueError: If none of its outputs has a name that is known.
    """
    with Archive(folder / case["answers"]) as archive:
        for kind, file in case["sets"].items():
            x = np.load(folder / file, mmap_mode="r")
            size = case["batch"]
            parts = [
                model.outputs(np.ascontiguousarray(x[i : i + size]))
                for i in range(0, len(x), size)
            ]
            found = {
                name: np.concatenate([part[name] for part in parts])
                for name in parts[0]
            }
            for name, array in _known(found, case["names"]):
                archive.add(f"set:{kind}:{name}", array)
            if kind == "noise" and PROBABILITIES in found:
                archive.add(f"set:{kind}:{PROBABILITIES}", found[PROBABILITIES])
        for name, files in case.get("raw", {}).items():
            found = model.call("serve_bytes", **_sent([folder / f for f in files]))
            for part, array in _known(found, case["names"]):
                archive.add(f"bytes:{name}:{part}", array)


def _sent(files: Sequence[Path]) -> dict[str, Any]:
    """What `serve_bytes` takes of files."""
    if files[0].suffix == ".npy":
        return voxels([np.load(file) for file in files])
    return {"image_bytes": [file.read_bytes() for file in files]}


def _known(
    found: Mapping[str, Array], names: Mapping[str, str]
) -> Iterator[tuple[str, Array]]:
    """Outputs by the twins' names, in float32; one alone may have any name."""
    known = {names[name]: array for name, array in found.items() if name in names}
    if not known and len(found) == 1:
        known = {OUTPUTS: next(iter(found.values()))}
    if OUTPUTS not in known:
        wanted = [name for name, twins in names.items() if twins == OUTPUTS]
        raise ValueError(f"it gives {sorted(found)}, not {' or '.join(wanted)}")
    for name, array in known.items():
        yield name, array.astype(np.float32, copy=False)


if __name__ == "__main__":
    sys.exit(run(main, Path(sys.argv[1])))
