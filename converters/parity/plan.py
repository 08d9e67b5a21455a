"""What the processes of a verification shall compute: jobs, and their files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from converters.judging.rms import LEAST_INPUTS
from converters.mapping.pipe import Array
from converters.parity.attention import SHOWN
from converters.parity.record import LEVELS, Level
from converters.parity.weights import output_shape
from converters.workers.inputs import write_sets
from converters.workers.raw import write_raw
from converters.workers.size import (
    HEAD_PATCHES,
    batch_of,
    enough,
    inputs_for,
    operations,
)
from vit_config import ViTConfig

STEPS = 5
OPTIMIZERS = {
    "sgd": {"lr": 0.01, "momentum": 0.9},
    "adamw": {"lr": 1e-3, "betas": [0.9, 0.95], "eps": 1e-3, "weight_decay": 0.05},
}
"""Settings under which both frameworks' own optimizers compute the same update.

Keras 3.15.1 computes 1 - beta2^t in float32, which for beta2 = 0.999 is off by 2e-5.
With a small epsilon a gradient that is zero up to rounding, as that of a key bias,
moves its weight by a whole step of either sign.
"""

TAP_BYTES = 1.5e8
"""About as much memory as the intermediate results of one kind of input may take."""

OWN, OWN_FILE = "own", "own.npy"
"""The kind of the user's own inputs, and their file."""

LAYER_KINDS = ("noise", "low_variance")
SMALL = 4e9
"""Multiplications and additions for one input below which a model is a small one."""


@dataclass(frozen=True)
class Plan:
    """Inputs of all models and what is asked about them.

    Attributes:
        config: Of the reference.
        level: How far to go.
        dtype: Type to compute in.
        device: `"cpu"` or `"cuda"`.
        own: Whether the user's own inputs (B, C, *spatial) lie in `OWN_FILE`.
        folder: Where jobs, inputs and answers lie.
        seed: Of what is drawn here.
        raw: Whose preprocessing a model has inside that is asked; None: no model has.
        attention: Whether attention maps are asked for, of the user's own inputs or,
            without any, of structured ones.
    """

    config: ViTConfig
    level: Level
    dtype: str
    device: str
    own: bool
    folder: Path
    seed: int
    raw: ViTConfig | None = None
    attention: bool = False
    _case: dict[str, Any] = field(default_factory=dict)

    def reaches(self, level: Level) -> bool:
        """Whether a level is asked for."""
        return LEVELS.index(self.level) >= LEVELS.index(level)

    @property
    def layer_kinds(self) -> tuple[str, ...]:
        """Inputs on which every step is looked at."""
        return LAYER_KINDS

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of input."""
        return tuple(self.case()["sets"])

    def case(self) -> dict[str, Any]:
        """What every model is asked; its files are written at the first call."""
        if not self._case:
            self._case.update(self._written())
        return dict(self._case)

    def _written(self) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, 1])
        config = self.config
        case: dict[str, Any] = {
            "config": config.to_dict(),
            "dtype": self.dtype,
            "device": self.device,
            "batch": batch_of(config),
            "weights": True,
            "sets": write_sets(self.folder, config, self.seed),
        }
        if self.own:
            case["sets"][OWN] = OWN_FILE
        if operations(config) >= SMALL:  # tokens cost a large model another pass
            case["tokens_of"] = [*LAYER_KINDS, OWN]
        if self.raw is not None:
            case["raw"] = write_raw(self.folder, self.raw, self.seed)
        if self.attention:
            kind = OWN if self.own else "structured"
            case["attention"] = {kind: min(SHOWN, len(self._inputs(case, kind)))}
        noise = len(self._inputs(case, "noise"))
        if config.num_classes and not enough(config, noise):
            rows = config.num_prefix_tokens + min(config.num_patches, HEAD_PATCHES)
            shape = (LEAST_INPUTS, rows, config.embed_dim)
            np.save(self.folder / "head.npy", rng.standard_normal(shape, np.float32))
            case["head"] = "head.npy"
        if self.reaches("layers"):
            count = layer_inputs(config)
            case["taps"] = dict.fromkeys(self.layer_kinds, count)
            case["forced"] = {
                kind: f"forced-{i}.npz" for i, kind in enumerate(self.layer_kinds)
            }
        if self.reaches("gradients"):
            case["gradients"] = self._gradients(rng, self._inputs(case, "noise"))
        if self.reaches("training"):
            case["training"] = self._training(rng)
        return case

    def _inputs(self, case: dict[str, Any], kind: str) -> Array:
        found: Array = np.load(self.folder / case["sets"][kind], mmap_mode="r")
        return found

    def _gradients(self, rng: np.random.Generator, noise: Array) -> dict[str, str]:
        x = noise[: 3 if operations(self.config) < SMALL else 1]
        np.save(self.folder / "gradient-x.npy", x)
        shape = (len(x), *output_shape(self.config))
        np.save(self.folder / "gradient-y.npy", rng.standard_normal(shape, np.float32))
        return {"inputs": "gradient-x.npy", "cotangent": "gradient-y.npy"}

    def _training(self, rng: np.random.Generator) -> dict[str, Any]:
        batch = 4 if operations(self.config) < SMALL else 1
        shape = (STEPS, batch, self.config.in_chans, *self.config.img_size)
        np.save(self.folder / "train-x.npy", rng.standard_normal(shape, np.float32))
        shape = (STEPS, batch, *output_shape(self.config))
        np.save(self.folder / "train-y.npy", rng.standard_normal(shape, np.float32))
        return {
            "inputs": "train-x.npy",
            "targets": "train-y.npy",
            "optimizers": OPTIMIZERS,
        }


def layer_inputs(config: ViTConfig) -> int:
    """For how many inputs all intermediate results are kept."""
    branches = 2 if config.mlp_layer == "swiglu" else 1
    row = 7 * config.embed_dim + 4 * config.attn_dim + (1 + branches) * config.mlp_dim
    size = 4 * config.num_tokens * config.depth * row
    return max(1, min(4, inputs_for(config), int(TAP_BYTES / size)))
