"""The other fresh process: the torch twin of a file, in float32 and in float64.

Run as `python -m converters.parity.reference JOB`. JOB is a JSON file as for
`converters.parity.worker`, with "config" always; answers of the float64 model have
names that begin with "exact:".
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch_vit

BATCH = 64
EXACT = "exact:"


def main(job: Path) -> None:
    """Does what the job says and prints one line of JSON about it."""
    import torch

    cases = []
    for case in json.loads(job.read_text(encoding="utf-8"))["cases"]:
        start = time.perf_counter()
        model = load(Path(case["model"]), case["config"])
        seconds = time.perf_counter() - start
        found = _answers(model, case, job.parent)
        exact = _answers(model.double(), case, job.parent)
        found |= {EXACT + name: values for name, values in exact.items()}
        np.savez(job.parent / case["answers"], **found)
        cases.append({"load_seconds": seconds})
    print(json.dumps({"torch": str(torch.__version__), "cases": cases}))


def load(path: Path, config: dict[str, Any]) -> torch_vit.ViT:
    """The torch twin of a file, in float32, whatever the type of the weights."""
    import torch

    from converters.conversion import read_checked
    from converters.extras import twin
    from vit_config import ViTConfig

    with read_checked(path, config=ViTConfig.from_dict(config)) as found:
        state = {
            name: torch.from_numpy(found.source.read(name).astype(np.float32))
            for name in found.digests
        }
        model: torch_vit.ViT = twin("torch_vit").ViT(found.config, device="meta")
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


def _answers(model: torch_vit.ViT, case: dict[str, Any], folder: Path) -> Any:
    import torch

    x = np.load(folder / case["inputs"])
    size = case.get("batch", BATCH)
    with torch.inference_mode():
        found = {"outputs": _batched(model, model, x, size)}
        if case.get("tokens"):
            first = x[: case["tokens"]]
            found["tokens"] = _batched(model, model.forward_features, first, size)
        if case.get("head"):
            tokens = np.load(folder / case["head"])
            found["head"] = _batched(model, model.forward_head, tokens, size)
        if case.get("layers"):
            _, taps = model.forward_taps(_tensor(model, x[: case["layers"]]))
            found |= {f"layer:{name}": value.numpy() for name, value in taps.items()}
    return found


def _batched(
    model: torch_vit.ViT, function: Callable[[Any], Any], x: Any, size: int
) -> Any:
    parts = [
        function(_tensor(model, x[i : i + size])).numpy()
        for i in range(0, len(x), size)
    ]
    return np.concatenate(parts)


def _tensor(model: torch_vit.ViT, x: Any) -> Any:
    import torch

    return torch.from_numpy(x).to(next(model.parameters()).dtype)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
