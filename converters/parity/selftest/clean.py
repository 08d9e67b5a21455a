"""Pairs without a fault, drawn over the whole schema: `verify` has to pass them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from converters.parity.faults import Model
from converters.parity.faults.bases import filled
from converters.parity.models import Models
from converters.parity.selftest.trial import CHUNK, Outcome, Trial
from vit_config import ConfigError, ViTConfig
from vit_config.weights import weight_table

PLAIN = ("gelu", "gelu_tanh", "quick_gelu", "relu")


def drawn_model(seed: int) -> Model:
    """A small model with all its weights, the same for a seed on every machine.

    Its residual stream is as small as that of trained models, see
    `converters.parity.faults.bases`.
    """
    config = drawn_config(np.random.default_rng(seed))
    weights = {w.name: filled(config, w.name, w.shape) for w in weight_table(config)}
    return Model(config, weights)


def drawn_config(rng: np.random.Generator) -> ViTConfig:
    """A small config, every field of the architecture by chance."""
    while True:
        try:
            return ViTConfig(**_fields(rng))
        except ConfigError:  # not all fields go together
            continue


def _fields(rng: np.random.Generator) -> dict[str, Any]:
    def one(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    def chance(share: float) -> bool:
        return bool(rng.random() < share)

    dims = one(2, 3)
    patch = [one(*((2, 4, 8, 5) if dims == 2 else (2, 3, 4))) for _ in range(dims)]
    grid = [one(2, 3, 4, 5) if dims == 2 else one(1, 2, 3) for _ in range(dims)]
    heads = one(1, 2, 3, 4, 6)
    gated = chance(0.25)
    classes = one(0, 0, 2, 7, 10, 40)
    pool = one("token", "avg", "map", "token_avg", "max", "none")
    return {
        "spatial_dims": dims,
        "img_size": [p * n for p, n in zip(patch, grid, strict=True)],
        "patch_size": patch,
        "in_chans": one(1, 2, 3, 4),
        "embed_dim": heads * one(12, 16, 20),
        "depth": one(1, 2, 3),
        "num_heads": heads,
        "head_dim": one(None, None, 8, 10),
        "mlp_dim": one(48, 52, 80, 96),
        "patch_bias": chance(0.8),
        "patch_norm": one("none", "none", "post", "dual"),
        "pre_norm": chance(0.25),
        "class_token": chance(0.7),
        "dist_token": chance(0.2),
        "reg_tokens": one(0, 0, 1, 4),
        "pos_embed": one("learned", "learned", "sincos", "none"),
        "pos_embed_tokens": one("all", "cls", "patch"),
        "norm_eps": one(1e-3, 1e-5, 1e-6, 1e-12),
        "qkv_bias": one(True, True, False, "qv"),
        "proj_bias": chance(0.8),
        "mlp_bias": chance(0.8),
        "qk_norm": chance(0.2),
        "init_values": one(None, None, 0.1),
        "act_layer": "silu"
        if gated
        else one("gelu", "gelu_tanh", "quick_gelu", "relu"),
        "mlp_layer": "swiglu" if gated else "mlp",
        "final_norm": chance(0.8),
        "fc_norm": chance(0.25),
        "fc_norm_eps": one(None, 1e-5),
        "global_pool": pool,
        "pool_include_prefix": chance(0.3),
        "distilled": chance(0.2),
        "representation_size": one(None, None, 24),
        "num_classes": 0 if pool == "none" else classes,
        "head_bias": chance(0.8),
        "head_act": one(None, None, "tanh"),
        "drop_rate": one(0.0, 0.1),
        "drop_path_rate": one(0.0, 0.2),
    }


def clean_pairs(
    seeds: Sequence[int],
    backends: tuple[str, ...],
    folder: Path,
    tell: Callable[[str], None] = lambda text: None,
    device: str = "cpu",
) -> Iterator[Outcome]:
    """What `verify` says of models that were carried over as they should be.

    Args:
        seeds: One for each model; on every backend it is a pair.
        backends: Keras backends.
        folder: An empty folder.
        tell: Called with a few words as the work goes on.
        device: `"cpu"` or `"cuda"`.
    """
    for start in range(0, len(seeds), CHUNK):
        some = seeds[start : start + CHUNK]
        with ExitStack() as stack:
            models = Models(folder, device, backends, None, stack, tell, reload=False)
            trials = []
            for seed in some:
                home = folder / f"model-{seed}"
                home.mkdir()
                model = drawn_model(seed)
                trials.append(Trial(f"drawn {seed}", model, models, home, stack))
            pairs = [trial.pair(None, "clean", stack) for trial in trials]
            runs = models.run(pairs)
            for trial, pair, run in zip(trials, pairs, runs, strict=True):
                yield from trial.judged(pair, None, run)
        for seed in some:
            shutil.rmtree(folder / f"model-{seed}")
