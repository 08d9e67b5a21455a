"""Small models to export, and processes that have none of our packages."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from converters import convert
from converters.cli.app import app
from tests.cases import CASES
from tests.fill import fill_weights
from tests.once import once, shared_folder
from vit_config import ViTConfig

PLAIN = Path(__file__).with_name("plain.py")

DATA = {
    "mean": (0.5, 0.4, 0.3),
    "std": (0.2, 0.3, 0.25),
    "input_range": (0.0, 1.0),
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
}
SCAN = {
    "axes": ("X", "Y", "Z"),
    "orientation": "RAS",
    "spacing_mm": (1.0, 1.0, 2.0),
    "fit": "resize",
    "fit_first": False,
    "interpolation": "bilinear",
    "intensity": {"kind": "window", "low": -200.0, "high": 300.0},
    "input_range": (0.0, 1.0),
}
LABELS = ("Kröte", "frog", "newt")


def config(name: str, **changes: Any) -> ViTConfig:
    return CASES[name].replace(**changes)


def pictured(**changes: Any) -> ViTConfig:
    """A classifier of images that says all of its preprocessing."""
    return config("vit", **{"data": DATA, "problem_type": "single_label"} | changes)


def write_model(path: Path, config: ViTConfig, dtype: str = "float32") -> Path:
    header = json.dumps({"schema_version": 1, "config": config.to_dict()})
    arrays = {k: v.astype(dtype) for k, v in fill_weights(config).items()}
    save_file(arrays, path, {"format": "pt", "vit_duet": header})
    return path


def twin_outputs(config: ViTConfig, x: np.ndarray, float64: bool) -> dict[str, Any]:
    """What the torch twin gives for (B, C, *spatial), by the artifacts' names."""
    import torch

    import torch_vit

    model = torch_vit.ViT(config).eval()
    arrays = {k: torch.from_numpy(v) for k, v in fill_weights(config).items()}
    model.load_state_dict(arrays)
    given = torch.from_numpy(x)
    if float64:
        model, given = model.double(), given.double()
    with torch.no_grad():
        tokens = model.forward_features(given)
        found = {"tokens": tokens}
        if config.global_pool != "none":
            found["embedding"] = model.forward_head(tokens, pre_logits=True)
        if config.num_classes:
            found["logits"] = model.forward_head(tokens)
    return {name: value.numpy() for name, value in found.items()}


def saved_model(factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A model, its SavedModel and what was printed; made once for all processes.

    It is exported from a Keras file of the model with its preprocessing inside.
    """
    folder = shared_folder(factory, "exported-saved-model")
    source, target = folder / "model.safetensors", folder / "in" / "served"
    printed = folder / "printed.json"

    def work() -> None:
        inside = target.with_name("pipeline.keras")
        inside.parent.mkdir()
        write_model(source, pictured(labels=LABELS))
        asked = {"with_preprocessing": True, "white": 1, "verify": "weights"}
        convert(source, inside, card=False, **asked)
        words = ["export", inside, target, "--format", "saved_model", "--tokens"]
        done = CliRunner().invoke(app, [*map(str, words), "--json"])
        assert done.exit_code == 0, done.output
        printed.write_text(done.output, "utf-8")

    once(folder / "done", work)
    return source, target, printed.read_text("utf-8")


def run_plain(
    kind: str, artifact: Path, folder: Path, **inputs: Any
) -> dict[str, np.ndarray]:
    """Calls an artifact in a process in which our packages and Keras are not there.

    Args:
        kind: Format of the artifact.
        artifact: The file or folder.
        folder: For what the processes tell each other.
        **inputs: `x`, a batch in the artifact's own layout; for SavedModel also
            `files`, encoded pictures.
    """
    files = inputs.pop("files", None)
    if files is not None:
        for i, encoded in enumerate(files):
            (folder / f"{i}.bytes").write_bytes(encoded)
        inputs["count"] = np.array(len(files))
    np.savez(folder / "given.npz", **inputs)
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-I", PLAIN, kind, artifact, folder]
    done = subprocess.run(
        list(map(str, command)),
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / "found.npz") as found:
        return dict(found)


def encoded(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    """A picture file, by Pillow."""
    image = pytest.importorskip("PIL.Image").fromarray(pixels)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def needs(*modules: str) -> None:
    for module in modules:
        if find_spec(module) is None:
            pytest.skip(f"not installed: {module}", allow_module_level=True)
