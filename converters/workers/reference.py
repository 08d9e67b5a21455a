"""The other fresh process: the torch twin of a file, in float32 and in float64.

Run as `python -m converters.workers.reference JOB`. JOB is a JSON file as for
`converters.workers.worker`, with "config" always. A case is answered twice, in its
"dtype" (float32 if it says none) and by the oracle: the same weights, rounded to that
type, in float64 on the CPU. The oracle's answers have names that begin with "exact:".
With `"oracle": false` the case is one to be judged, and gets no oracle.

Of `forced` the reference answers norms on faint inputs: its other steps are its taps,
bit for bit.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.workers.device import device_of, flags, settle, versions
from converters.workers.program import answered, run

if TYPE_CHECKING:
    import torch_vit
    from converters.workers.torch_runner import TorchRunner

EXACT = "exact:"


def main(job: Path) -> None:
    """Does what the job says and prints one line of JSON about it."""
    import torch

    asked = json.loads(job.read_text(encoding="utf-8"))["cases"]
    device = device_of(asked)
    settle("torch", device)
    answer = partial(_asked, device=device)
    cases = [answered(answer, case, job) for case in asked]
    done = {
        "torch": str(torch.__version__),
        "versions": versions("torch", "numpy"),
        "flags": flags("torch", device),
        "cases": cases,
    }
    print(json.dumps(done))


def _asked(fields: dict[str, Any], folder: Path, device: str) -> dict[str, Any]:
    import torch

    from converters.workers.answers import Case
    from converters.workers.archive import Archive
    from converters.workers.torch_runner import TorchRunner

    dtype = fields.get("dtype", "float32")
    oracle = fields.get("oracle", True)

    def fresh(model: torch_vit.ViT | None = None) -> TorchRunner:
        model = _loaded(fields) if model is None else model
        return TorchRunner(model.to(device, getattr(torch, dtype)))

    def exact() -> TorchRunner:
        model = _loaded(fields).to(getattr(torch, dtype))
        return TorchRunner(model.double())

    start = time.perf_counter()
    with Archive(folder / fields["answers"]) as archive:
        case = Case(fields, folder, archive, fresh)
        model = _loaded(fields)
        said = case.look(TorchRunner(model))
        runner = fresh(model)
        said["load_seconds"] = time.perf_counter() - start
        case.layers(runner, write=oracle)  # first: another process waits for the file
        if oracle:
            case.faint(runner)
            case.raw(runner)
            case.served(runner)
        else:
            case.forced(runner)
        case.outputs(runner, once=True)
        case.gradients(runner)
        if oracle:
            runner = TorchRunner(runner.model.to("cpu").double())
            case = Case(fields, folder, archive, exact)
            case.layers(runner, EXACT)
            case.forced(runner, EXACT)
            case.served(runner, EXACT)
            case.outputs(runner, EXACT, once=True)
            case.gradients(runner, EXACT)
        del runner, model
        Case(fields, folder, archive, fresh).training()
        if oracle:
            Case(fields, folder, archive, exact).training(EXACT)
    return said


def _loaded(fields: dict[str, Any]) -> torch_vit.ViT:
    return load(Path(fields["model"]), fields["config"])


def load(path: Path, config: dict[str, Any]) -> torch_vit.ViT:
    """The torch twin of a file, in float32, whatever the type of the weights."""
    import torch

    from converters.conversion.convert import read_checked
    from converters.extras import twin
    from converters.sources.request import Asked
    from vit_config import ViTConfig

    with read_checked(path, Asked(config=ViTConfig.from_dict(config))) as found:
        state = {
            name: torch.from_numpy(found.source.read(name).astype(np.float32))
            for name in found.digests
        }
        model: torch_vit.ViT = twin("torch_vit").ViT(found.config, device="meta")
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


if __name__ == "__main__":
    sys.exit(run(main, Path(sys.argv[1])))
