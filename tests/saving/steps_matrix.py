"""Steps of the matrix: every case saved in three ways, then loaded elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

import keras_vit
from tests.saving.common import (
    fill,
    images,
    plain_load,
    relative_rms,
    run,
    store,
    stored,
)
from vit_config import ViTConfig

SHARD_GB = 16384 / 1024**3  # more than the largest weight


def make(case: str, config: dict[str, Any], ways: Sequence[str]) -> None:
    """Saves one case for the given ways, its weights randomised, and its output."""
    model = fill(keras_vit.ViT(config))
    store(case, output=run(model, images(model.config)))
    model.save(f"{case}.keras")
    if "weights.h5" in ways:
        model.save_weights(f"{case}.weights.h5")
    if "weights.json" in ways:
        model.save_weights(f"{case}.weights.json", max_shard_size=SHARD_GB)


def load(case: str, config: dict[str, Any], ways: Sequence[str]) -> dict[str, Any]:
    """Loads one case in the given ways and says what came back.

    No model is called before it is loaded.

    Returns:
        For every way whether the output has the same bits, and is finite, and whether
        the guard says that it verified the weights.
    """
    x = images(ViTConfig.from_dict(config))
    wanted = stored(case)["output"]
    report = {}
    for way in ways:
        model = _loaded(case, config, way)
        found = run(model, x)
        same = found.dtype == wanted.dtype and found.tobytes() == wanted.tobytes()
        finite = bool(np.isfinite(found).all())
        verified = model._guard.verified
        report[way] = {"same": same, "finite": finite, "verified": verified}
    return report


def _loaded(case: str, config: dict[str, Any], way: str) -> keras.Model:
    if way == "keras.models.load_model":
        return plain_load(f"{case}.keras")
    if way == "keras_vit.load_model":
        return keras_vit.load_model(f"{case}.keras")
    model = keras_vit.ViT(config)
    model.load_weights(f"{case}.{way}")
    return model


def load_foreign(case: str, config: dict[str, Any], folder: str) -> dict[str, Any]:
    """Loads a `.keras` of another backend; returns how far the output is off."""
    model = plain_load(f"{folder}/{case}.keras")
    found = run(model, images(ViTConfig.from_dict(config)))
    with np.load(f"{folder}/{case}.npz") as arrays:
        error = relative_rms(found, arrays["output"])
    return {"error": error, "verified": model._guard.verified}
