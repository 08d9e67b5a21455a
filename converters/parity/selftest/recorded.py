"""What real libraries computed, once: both twins are held against it.

The files in `goldens/` have outputs of timm, transformers, torchvision, MONAI and
vit-pytorch on small models, in float32 and in float64, with their versions; its README
says how they were made. Weights and inputs are made anew, from their names alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from converters.files import write
from converters.judging.rms import EPS32, rms
from converters.mapping.pipe import Array, MemorySource
from converters.workers.archive import Arrays
from converters.workers.fill import FAINT, fill_weights, image
from converters.workers.process import KERAS_WORKER, started, write_job
from vit_config import ViTConfig

FOLDER = Path(__file__).resolve().parent / "goldens"
REFERENCE = "converters.workers.reference"
LIMIT_S = 3600

USED = (
    *("timm_vit", "timm_distilled", "timm_dinov2_swiglu", "timm_siglip", "timm_reg"),
    *("timm_qk_norm", "hf_vit", "hf_deit", "hf_dinov2_registers", "hf_clip"),
    *("hf_videomae", "torchvision_vit", "monai_2d_tanh", "monai_3d_tanh"),
    *("monai_3d_features", "lucidrains_vit_3d"),
)
"""The cases that a self-test runs; the project's own tests run all."""


@dataclass(frozen=True)
class Recorded:
    """What a library gave for one kind of input.

    Attributes:
        case: Name of the file.
        kind: Kind of input.
        library: Whose model it was: `"timm 1.0.31"`.
        config: Ours of the same model.
        weights: Canonical weights.
        x: Inputs (B, C, *spatial).
        exact: The library's outputs in float64, of the first inputs.
        floats: Its outputs in float32, computed in one way or in two.
    """

    case: str
    kind: str
    library: str
    config: ViTConfig
    weights: dict[str, Array]
    x: Array
    exact: Array
    floats: tuple[Array, ...]

    def ratio(self, given: Array) -> float:
        """RMS error of our outputs over the library's own; NaN if shapes differ.

        Args:
            given: Ours, of all inputs, in float32.
        """
        ours = given[: len(self.exact)]
        if ours.shape != self.exact.shape:
            return float("nan")
        noise = max(rms(one.astype(np.float64) - self.exact) for one in self.floats)
        floor = max(noise, EPS32 * rms(self.exact))
        return rms(ours.astype(np.float64) - self.exact) / floor


def recorded(case: str) -> Iterator[Recorded]:
    """All kinds of input of a case, weights and inputs made anew.

    Raises:
        FileNotFoundError: If there is no such case.
    """
    with safe_open(FOLDER / f"{case}.safetensors", framework="numpy") as file:
        about: dict[str, Any] = json.loads(file.metadata()["golden"])
        config = ViTConfig.from_dict(about["config"])
        names = set(file.keys())
        library = about["library"]
        for kind, asked in about["inputs"].items():
            faint = asked["faint_fill"]
            weights = fill_weights(config, faint=faint)
            if "weights/pos_embed" in names:  # the library's own table
                scale = np.float32(FAINT if faint else 1.0)
                weights["pos_embed"] = file.get_tensor("weights/pos_embed") * scale
            shape = (asked["batch"], config.in_chans, *config.img_size)
            start = f"{kind}/output/"
            floats = [n for n in ("library", "alternative") if f"{start}{n}" in names]
            if f"{start}oracle" not in names:
                continue
            yield Recorded(
                case,
                kind,
                f"{library} {_version(about)}",
                config,
                weights,
                image(shape, asked["seed"], asked["kind"]),
                file.get_tensor(f"{start}oracle"),
                tuple(file.get_tensor(f"{start}{name}") for name in floats),
            )


def _version(about: dict[str, Any]) -> str:
    versions: dict[str, str] = about["versions"]
    names = {"lucidrains": "vit-pytorch", "hf": "transformers"}
    library = about["library"]
    return versions.get(names.get(library, library), versions.get(library, ""))


def ratios(
    cases: Sequence[str], backend: str | None, device: str, folder: Path
) -> Iterator[tuple[Recorded, float]]:
    """Runs a twin on recorded inputs, all in one process.

    Args:
        cases: Names of cases.
        backend: Keras' backend; None for the torch twin.
        device: `"cpu"` or `"cuda"`.
        folder: An empty folder.

    Raises:
        ProcessError: If the process fails.
    """
    found = [one for case in cases for one in recorded(case)]
    kind = "safetensors" if backend is None else "keras"
    jobs = []
    for i, one in enumerate(found):
        path = folder / f"{i}.{kind}"
        write(path, kind, MemorySource(one.weights), one.config)
        np.save(folder / f"{i}.npy", one.x)
        jobs.append(
            {
                "model": str(path),
                "config": one.config.to_dict(),
                "sets": {one.kind: f"{i}.npy"},
                "answers": f"{i}.npz",
                "device": device,
                "batch": 64,
                "oracle": False,
            }
        )
    job = write_job(folder / "job.json", jobs)
    module = REFERENCE if backend is None else KERAS_WORKER
    label = "PyTorch" if backend is None else f"Keras ({backend})"
    with started(module, job, label, backend or "torch", device) as worker:
        worker.wait(LIMIT_S)
    for i, one in enumerate(found):
        with Arrays(folder / f"{i}.npz") as arrays:
            yield one, one.ratio(arrays[f"set:{one.kind}:outputs"])
