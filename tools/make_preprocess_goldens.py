"""Makes tests/preprocess/goldens.npz: what libraries make of images.

    PYTHONPATH=. python tools/make_preprocess_goldens.py

needs torch, torchvision, timm, transformers and Pillow. The images are computed by
`tests.preprocess.golden_cases`, so only results are kept, and the versions that made
them: uint8 levels before mean and deviation where the library rounds to them (checked
here to be no loss), floats where it does not. All cases follow one another in two
arrays, since each array of its own would take more room than its values.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.preprocess.golden_cases import CASES, Case
from tests.preprocess.processors import processed

OUT = Path(__file__).resolve().parent.parent / "tests" / "preprocess" / "goldens.npz"


def stored(case: Case, found: torch.Tensor) -> NDArray[Any]:
    """(H, W, C) before mean and deviation, as uint8 where that is what it was."""
    mean, std = (np.array(v, np.float64) for v in (case.mean, case.std))
    values = found.double().numpy().transpose(1, 2, 0)
    if case.in_floats:
        return values.astype(np.float32)
    before = (values * std + mean) * 255
    if np.abs(before - before.round()).max() > 1e-3:
        raise SystemExit(f"{case.name}: not rounded to levels")
    return before.round().astype(np.uint8)


def main() -> None:
    found: dict[str, list[NDArray[Any]]] = {"levels": [], "floats": []}
    for name, case in CASES.items():
        made = processed(case)
        if tuple(made.shape) != (case.shape[2], *case.size):
            raise SystemExit(f"{name}: {tuple(made.shape)}")
        found["floats" if case.in_floats else "levels"].append(stored(case, made))
    arrays = {k: np.concatenate([v.ravel() for v in vs]) for k, vs in found.items()}
    libraries = ("timm", "torchvision", "transformers", "pillow")
    made_by = {name: version(name) for name in libraries}
    made_by["torch"] = torch.__version__
    about = {"versions": made_by, "cases": list(CASES)}
    np.savez_compressed(OUT, about=np.array(json.dumps(about)), **arrays)
    print(OUT.name, OUT.stat().st_size, "bytes", len(CASES), "cases", made_by)


if __name__ == "__main__":
    main()
