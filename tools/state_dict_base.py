"""What one entry of `tools/make_state_dict_keys.py` is, and how a model is filled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from make_goldens import DEAD, Part

from tests.fill import fill_weights
from vit_config import ViTConfig

Arrays = dict[str, np.ndarray]
Parts = Part | tuple[Part, ...]
Map = dict[str, Any]
Made = tuple[dict[str, Arrays], dict[str, Any], set[str]]


@dataclass(frozen=True)
class Model:
    """One model of one library.

    Attributes:
        name: Its key in the file.
        builder: Class in the library.
        arguments: What it is built with, JSON types only.
        weight_map: Library tensors in memory, from canonical weights.
        maker: Builds, fills and saves it.
        changes: Fields that the library's config does not say.
    """

    name: str
    builder: str
    arguments: dict[str, Any]
    weight_map: Callable[[ViTConfig], Map]
    maker: Callable[[Model], Made]
    changes: dict[str, Any] = field(default_factory=dict)

    def make(self) -> Made:
        """All generations of names; the config to read; names that nothing reads."""
        return self.maker(self)


def values_of(parts: Parts, weights: Arrays) -> np.ndarray:
    """One library tensor."""
    several = parts if isinstance(parts, tuple) else (parts,)
    return np.concatenate([part.of(weights[part.name]) for part in several])


def fill_model(model: torch.nn.Module, weight_map: Map, config: ViTConfig) -> set[str]:
    """Fills a library model; the names of what is not mapped, which becomes NaN."""
    weights = fill_weights(config)
    targets = {**dict(model.named_parameters()), **model.state_dict(keep_vars=True)}
    mapped = {name for name, part in weight_map.items() if part is not DEAD}
    absent = mapped - targets.keys()
    if absent:
        raise ValueError(f"not in the library: {sorted(absent)}")
    for name, target in targets.items():
        if name in mapped:
            values = values_of(weight_map[name], weights)
            if values.shape != tuple(target.shape):
                raise ValueError(f"{name}: {tuple(target.shape)} from {values.shape}")
        elif target.dtype.is_floating_point:
            values = np.full(target.shape, np.nan, np.float32)
        else:
            continue
        with torch.no_grad():
            target.copy_(torch.from_numpy(np.ascontiguousarray(values)))
    used = {
        part.name
        for name in mapped
        for part in np.atleast_1d(np.array(weight_map[name], dtype=object))
    }
    left = weights.keys() - used - {"pos_embed"}
    if left:
        raise ValueError(f"canonical weights that nothing holds: {sorted(left)}")
    return targets.keys() - mapped


def in_memory(model: torch.nn.Module) -> Arrays:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def config_of(
    dialect: str, given: dict[str, Any], changes: dict[str, Any]
) -> ViTConfig:
    """The config, by the reader of its dialect or, without one, as it stands."""
    config = ViTConfig.from_dialect(dialect, given)
    return config.replace(**changes) if changes else config
