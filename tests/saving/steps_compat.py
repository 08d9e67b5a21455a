"""Steps that load the files of earlier releases."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

import keras_vit
from tests.saving.common import plain_load, relative_rms, run

FOLDER = Path(__file__).resolve().parents[1] / "compat"


def load(version: str, name: str, kind: str) -> float:
    """How far the output of a file is off from the one stored beside it.

    Returns:
        RMS of the difference, as a share of the output's RMS.
    """
    folder = FOLDER / version
    with np.load(folder / f"{name}.npz") as arrays:
        x, wanted = np.moveaxis(arrays["x"], 1, -1), arrays["y"]
    if kind == "safetensors":
        return relative_rms(run(read(folder / f"{name}.safetensors"), x), wanted)
    path = Path(f"{version}-{name}.{kind}")
    path.write_bytes(gzip.decompress((folder / f"{name}.{kind}.gz").read_bytes()))
    if kind == "keras":
        model = plain_load(path)
        other = keras_vit.load_model(path)
        if (
            other.config != model.config
            or run(other, x).tolist() != run(model, x).tolist()
        ):
            raise AssertionError("the two loaders disagree")
    else:
        model = keras_vit.ViT(read(folder / f"{name}.safetensors").config)
        model.load_weights(path)
    if not model._guard.verified:
        raise AssertionError("not verified")
    return relative_rms(run(model, x), wanted)


def read(path: Path) -> keras_vit.ViT:
    """Reads a canonical file."""
    return keras_vit.ViT.from_pretrained(path)
