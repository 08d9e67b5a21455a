"""Both processes of the laboratory, asked once for all tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.files import write
from converters.mapping.pipe import Cast, MemorySource, Source
from converters.workers.process import KERAS_WORKER, started, write_job
from tests.cases import CASES
from tests.fill import fill_weights, image
from tests.once import once
from vit_config import ViTConfig

REFERENCE = "converters.workers.reference"
TIMEOUT_S = 900

Arrays = dict[str, np.ndarray]


class Answers:
    """What both processes said.

    Args:
        folder: Where they wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keras = json.loads((folder / "keras.said").read_text("utf-8"))
        self.torch = json.loads((folder / "torch.said").read_text("utf-8"))

    def of(self, name: str) -> tuple[Arrays, Arrays]:
        """Keras' answers to a case, and the reference's."""
        found = []
        for framework in ("keras", "torch"):
            with np.load(self.folder / f"{name}-{framework}.npz") as arrays:
                found.append(dict(arrays))
        return found[0], found[1]


VARIANTS: dict[str, dict[str, Any]] = {
    "vit@judged": {"oracle": False, "forced": {"noise": "vit-forced.npz"}},
    "vit@bfloat16": {"dtype": "bfloat16"},
    "map@stored": {"stored": "bfloat16", "dtype": "float32"},
}
"""What else is asked, of which case."""

RESAVED = "vit"


def case_fields(
    folder: Path, name: str, config: ViTConfig, trained: bool
) -> dict[str, Any]:
    """A case with everything, on noise; its files are written."""
    more = VARIANTS.get(name, {})
    source: Source = MemorySource(fill_weights(config))
    if "stored" in more:
        source = Cast(source, more["stored"])
    write(folder / f"{name}.safetensors", "safetensors", source, config)
    write(folder / f"{name}.keras", "keras", source, config)
    write(folder / f"{name}.weights.h5", "weights.h5", source, config)
    shape = (3, config.in_chans, *config.img_size)
    np.save(folder / f"{name}-x.npy", image(shape))
    fields: dict[str, Any] = {
        "config": config.to_dict(),
        "sets": {"noise": f"{name}-x.npy"},
        "taps": {"noise": 2},
        "attention": {"noise": 2},
        "forced": {"noise": f"{name}-forced.npz"},
        "weights": True,
    }
    if trained:
        out = (3, config.num_classes or config.head_in_dim)
        if config.global_pool == "none":
            out = (3, config.num_tokens, config.embed_dim)
        np.save(folder / f"{name}-c.npy", image(out, 1))
        np.save(folder / f"{name}-xs.npy", image((4, *shape), 2))
        np.save(folder / f"{name}-ts.npy", image((4, *out), 3))
        fields["gradients"] = {
            "inputs": f"{name}-x.npy",
            "cotangent": f"{name}-c.npy",
        }
        fields["training"] = {
            "inputs": f"{name}-xs.npy",
            "targets": f"{name}-ts.npy",
            "optimizers": {
                "sgd": {"lr": 0.01, "momentum": 0.9},
                # An epsilon that counts, so that its place does.
                "adamw": {
                    **{"lr": 0.01, "weight_decay": 0.1},
                    **{"betas": [0.9, 0.95], "eps": 0.01},
                },
            },
        }
    return {**fields, **more}


def ask(
    folder: Path,
    backend: str,
    names: Sequence[str],
    trained: Sequence[str],
) -> Answers:
    """Asks both processes, once in a test run."""

    def work() -> None:
        jobs: dict[str, list[dict[str, Any]]] = {"keras": [], "torch": []}
        for name in names:
            config = CASES[name.partition("@")[0]]
            fields = case_fields(folder, name, config, name in trained)
            suffixes = {"keras": "keras", "torch": "safetensors"}
            if "stored" in fields:
                suffixes["keras"] = "weights.h5"
            for framework, suffix in suffixes.items():
                own = {
                    "model": str(folder / f"{name}.{suffix}"),
                    "answers": f"{name}-{framework}.npz",
                }
                if name == RESAVED and framework == "keras":
                    own["resave"] = f"{name}-again.keras"
                jobs[framework].append({**fields, **own})
        paths = {k: write_job(folder / f"{k}.json", v) for k, v in jobs.items()}
        with (
            started(REFERENCE, paths["torch"], "PyTorch", backend) as torch,
            started(KERAS_WORKER, paths["keras"], f"Keras ({backend})", backend) as k,
        ):
            said = {"torch": torch.wait(TIMEOUT_S), "keras": k.wait(TIMEOUT_S)}
        for name, text in said.items():
            text["cases"] = dict(zip(names, text["cases"], strict=True))
            (folder / f"{name}.said").write_text(json.dumps(text), "utf-8")

    once(folder / "done", work)
    return Answers(folder)
