"""What all steps need: filled models, inputs, outputs, comparisons."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vit
from keras_vit.guard import all_layers, seed_generators
from vit_config import ViTConfig


def config_2d(**changes: Any) -> ViTConfig:
    """A small 2D classifier."""
    fields = {
        "img_size": (24, 16),
        "patch_size": (8, 4),
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 3,
        "mlp_dim": 40,
        "num_classes": 3,
    }
    return ViTConfig(**fields | changes)


def config_3d(**changes: Any) -> ViTConfig:
    """A small 3D feature model."""
    fields = {
        "spatial_dims": 3,
        "img_size": (8, 12, 4),
        "patch_size": (4, 6, 2),
        "in_chans": 1,
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 3,
        "mlp_dim": 40,
        "global_pool": "avg",
    }
    return ViTConfig(**fields | changes)


def fill(model: keras.Model, seed: int = 0) -> keras.Model:
    """Draws every weight anew, none of them zero or one; returns the model."""
    for weight in model.weights:
        relative = weight.path.removeprefix(f"{model.name}/")
        rng = np.random.default_rng([seed, zlib.crc32(relative.encode())])
        value = rng.standard_normal(weight.shape)
        if weight.name == "kernel":
            value /= np.sqrt(np.prod(weight.shape[:-1]))
        elif weight.name == "gamma":
            value = 1 + 0.3 * value
        else:
            value *= 0.3
        weight.assign(value)
    return model


def images(config: ViTConfig, batch: int = 3) -> np.ndarray:
    """Inputs of the model, (B, *spatial, C)."""
    rng = np.random.default_rng(7)
    shape = (batch, *config.img_size, config.in_chans)
    return rng.standard_normal(shape, "float32")


def run(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """The model's output, called directly."""
    return array(model(x, training=False))


def array(value: Any) -> np.ndarray:
    """A tensor as an array of its own; bfloat16 as float32, which holds it exactly."""
    value = np.array(keras.ops.convert_to_numpy(value))
    return value.astype("float32") if value.dtype.name == "bfloat16" else value


def demand_same(found: np.ndarray, wanted: np.ndarray, what: str = "output") -> None:
    """Fails unless the two have the same bits.

    Raises:
        AssertionError: With the largest difference.
    """
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise AssertionError(
            f"{what}: {found.dtype}{found.shape}, was {wanted.dtype}{wanted.shape}"
        )
    if not np.isfinite(found).all():
        raise AssertionError(f"{what}: not finite")
    if found.tobytes() != wanted.tobytes():
        largest = np.abs(found.astype("float64") - wanted).max()
        raise AssertionError(f"{what}: not the same bits, differs by {largest:.3g}")


def relative_rms(found: np.ndarray, wanted: np.ndarray) -> float:
    """RMS of the difference as a share of the RMS of what is wanted."""
    wanted = wanted.astype("float64")
    return float(np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)))


def demand_other(found: np.ndarray, wanted: np.ndarray, what: str = "output") -> None:
    """Fails unless the two clearly differ, so that a comparison can see something.

    Raises:
        AssertionError: If they do not.
    """
    if found.shape == wanted.shape and relative_rms(found, wanted) < 1e-2:
        raise AssertionError(f"{what}: hardly differs")


def demand_verified(model: keras.Model, count: int = 1) -> None:
    """Fails unless exactly so many ViTs are in the model, all of them verified.

    Raises:
        AssertionError: Otherwise.
    """
    found = {layer.name: layer._guard.verified for layer in vits(model)}
    if len(found) != count or not all(found.values()):
        raise AssertionError(f"{count} verified ViTs expected, found {found}")


def vits(model: keras.Model) -> list[keras_vit.ViT]:
    """All ViTs in a model."""
    return [layer for layer in all_layers(model) if isinstance(layer, keras_vit.ViT)]


def weights_of(model: keras.Model) -> dict[str, np.ndarray]:
    """All weights by their path below the model."""
    prefix = f"{model.name}/"
    return {w.path.removeprefix(prefix): array(w) for w in model.weights}


def seeds_of(model: keras.Model) -> np.ndarray:
    """States of all dropout generators."""
    return np.stack([array(seed.state) for seed in seed_generators(model)])


def store(name: str, **arrays: np.ndarray) -> None:
    """Keeps arrays for the next process."""
    np.savez(f"{name}.npz", **arrays)


def stored(name: str) -> dict[str, np.ndarray]:
    """What `store` kept."""
    with np.load(f"{name}.npz") as arrays:
        return dict(arrays)


def plain_load(path: str | Path, **options: Any) -> keras.Model:
    """`keras.models.load_model` and nothing else."""
    return keras.models.load_model(path, **options)
