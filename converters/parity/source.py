"""The process of the original library: its own model of a source, asked.

Run as `python -m converters.parity.source JOB`. JOB is a JSON file as for
`converters.workers.worker`; a case has what `converters.parity.original` writes and of
the questions "sets", "head" and, of the input alone, "gradients". "set:KIND:tokens",
"set:KIND:pooled" and "head" are answered where the library has such a result.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from converters.workers.device import (
    UnavailableError,
    device_of,
    flags,
    settle,
    versions,
)
from converters.workers.program import run

if TYPE_CHECKING:
    from converters.parity.source_model import SourceModel

Array = NDArray[Any]

BATCH = 64


def main(job: Path) -> None:
    """Does what the job says and prints one line of JSON about it."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the libraries are imported
    asked = json.loads(job.read_text(encoding="utf-8"))["cases"]
    device = device_of(asked)
    settle("torch", device)
    cases = [_asked(case, job.parent) for case in asked]
    packages = dict.fromkeys(case["package"] for case in asked)
    done = {
        "versions": versions("torch", "numpy", *packages),
        "flags": flags("torch", device),
        "cases": cases,
    }
    print(json.dumps(done))


def answer_live(module: Any, fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same for a live model, in this process, with a copy of it.

    Raises:
        UnavailableError: If it cannot be run here.
    """
    from converters.parity.source_model import live_model

    if fields.get("device", "cpu") != "cpu":
        raise UnavailableError(
            "a live model runs in the caller's process, whose settings for CUDA are "
            "left alone: save it, and verify what was saved"
        )
    try:
        mine = copy.deepcopy(module)
    except (RuntimeError, TypeError) as error:
        raise UnavailableError(f"the live model cannot be copied: {error}") from None
    start = time.perf_counter()
    model = live_model(mine, fields)
    _answer(model, fields, folder)
    return {
        "versions": versions("torch", "numpy", fields["package"]),
        "flags": flags("torch", "cpu"),
        "cases": [{"load_seconds": time.perf_counter() - start}],
    }


def _asked(fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    from converters.parity.source_model import load_model

    start = time.perf_counter()
    model = load_model(fields, folder)
    said = {"load_seconds": time.perf_counter() - start}
    _answer(model, fields, folder)
    return said


def _answer(model: SourceModel, fields: dict[str, Any], folder: Path) -> None:
    import torch

    from converters.workers.archive import Archive
    from converters.workers.torch_runner import as_array

    dtype = getattr(torch, fields.get("dtype") or "float32")
    model.module.to(fields.get("device", "cpu"), dtype).eval()
    # torch's products sum in another order where no gradient is wanted.
    model.module.requires_grad_(True)
    size = fields.get("batch", BATCH)

    def tensor(x: Array) -> torch.Tensor:
        values = torch.from_numpy(np.ascontiguousarray(x))
        return values.to(fields.get("device", "cpu"), dtype)

    with Archive(folder / fields["answers"]) as archive:
        for kind, file in fields.get("sets", {}).items():
            x = np.load(folder / file, allow_pickle=False)
            with torch.no_grad():
                parts = [
                    model.answer(tensor(x[i : i + size]))
                    for i in range(0, len(x), size)
                ]
            for name in parts[0]:
                values = np.concatenate([as_array(part[name]) for part in parts])
                archive.add(f"set:{kind}:{name}", values)
        if fields.get("head") and model.has_head:
            x = np.load(folder / fields["head"], allow_pickle=False)
            with torch.no_grad():
                archive.add("head", as_array(model.after(tensor(x))))
        if asked := fields.get("gradients"):
            x, cotangent = (
                np.load(folder / asked[name], allow_pickle=False)
                for name in ("inputs", "cotangent")
            )
            leaf = tensor(x).requires_grad_()
            total = (model.answer(leaf)["outputs"] * tensor(cotangent)).sum()
            (gradient,) = torch.autograd.grad(total, leaf)
            archive.add("grad:input", as_array(gradient))


if __name__ == "__main__":
    sys.exit(run(main, Path(sys.argv[1])))
