"""Fresh weights of both twins have the distributions that the shared table says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.parity import suite
from tests.saving.backends import BACKENDS, backend_param
from vit_config.init import CUT_NORMAL_STD, Init, initial
from vit_config.sincos import sincos_table
from vit_config.weights import weight_table

pytest.importorskip("torch")

SIGMAS = 5
"""How far chance may go: one in a million, and the seeds are fixed."""


KERAS = pytest.mark.parametrize(
    "backend",
    [
        backend_param(name, marks=[pytest.mark.slow] * (name != suite.DRAWING))
        for name in BACKENDS
    ],
)
"""The others draw for seconds, and keras_vit asks Keras for all of it."""


def drawn(backend, name, runs):
    default = backend == suite.DRAWING
    results = runs.default(backend) if default else runs.slow(backend)
    return results.of(f"fresh/{name}")


def problem(values: np.ndarray, init: Init, config) -> str | None:
    """What is wrong with a draw, or None."""
    count, value = values.size, init.value
    if init.kind == "sincos":
        return None if np.array_equal(values, sincos_table(config)) else "not the table"
    if init.kind == "constant":
        return None if (values == np.float32(value)).all() else f"not all {value}"
    spread, tail = {
        "normal": (1.0, 2.0),
        "truncated_normal": (CUT_NORMAL_STD, 2.0),
        "uniform": (1 / math.sqrt(3), 0.8),  # of a uniform, squares vary less
    }[init.kind]
    std = value * spread
    found = float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
    if abs(found / std - 1) > SIGMAS * math.sqrt(tail / count) / 2:
        return f"std {found:.4g} instead of {std:.4g}"
    if abs(values.mean()) > SIGMAS * std / math.sqrt(count):
        return f"mean {values.mean():.4g}"
    limit = {"normal": math.inf, "truncated_normal": 2.0, "uniform": 1.0}[init.kind]
    largest = float(np.abs(values).max()) / value
    if largest > limit * (1 + 1e-6):
        return f"a value of {largest:.4g} times {value:.4g}"
    if count > 1000 and largest < {"normal": 2.5}.get(init.kind, 0.95 * limit):
        return f"no value beyond {largest:.4g} times {value:.4g}"
    return None


def problems(weights, config):
    found = {}
    for weight in weight_table(config):
        init = initial(config, weight)
        if reason := problem(weights[weight.name], init, config):
            found[weight.name] = f"{init}: {reason}"
    return found


def fresh_torch(config):
    import torch

    from torch_vit import ViT

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {name: v.numpy() for name, v in ViT(config).state_dict().items()}


@pytest.mark.parametrize("name", suite.FRESH)
def test_torch_draws_what_the_table_says(name):
    config = suite.FRESH[name]
    assert not problems(fresh_torch(config), config)


@pytest.mark.parametrize("name", suite.FRESH)
@KERAS
def test_keras_draws_what_the_table_says(backend, name, runs):
    config = suite.FRESH[name]
    assert not problems(drawn(backend, name, runs), config)


@KERAS
def test_no_two_weights_are_the_same_draw(backend, runs):
    for weights in (
        drawn(backend, "conv mae", runs),
        fresh_torch(suite.FRESH["conv mae"]),
    ):
        for part in ("attn.qkv.weight", "mlp.fc1.weight"):
            first, second = (weights[f"blocks.{i}.{part}"] for i in (0, 1))
            assert not np.isclose(first, second).mean() > 0.01


# What the sources do, written out once more: a table may be wrong.
SOURCES = {
    ("conv timm", "blocks.0.attn.qkv.weight"): Init("normal", 0.02),
    ("conv timm", "patch_embed.proj.weight"): Init("uniform", (3 * 8 * 16) ** -0.5),
    ("conv timm", "blocks.0.mlp.fc1.bias"): Init("constant", 0.0),
    ("conv timm", "pos_embed"): Init("normal", 0.02),
    ("conv timm", "cls_token"): Init("normal", 1e-6),
    ("conv jax", "head.weight"): Init("constant", 0.0),
    ("conv jax", "blocks.0.mlp.fc1.bias"): Init("normal", 1e-6),
    ("conv jax", "blocks.0.mlp.fc1.weight"): Init("uniform", (6 / (48 + 96)) ** 0.5),
    ("conv mae", "blocks.0.mlp.fc2.weight"): Init("uniform", (6 / (48 + 96)) ** 0.5),
    ("conv mae", "patch_embed.proj.weight"): Init("uniform", (6 / (384 + 48)) ** 0.5),
    ("conv mae", "cls_token"): Init("normal", 0.02),
    ("conv monai", "blocks.0.mlp.fc2.weight"): Init("uniform", 96**-0.5),
    ("conv monai", "cls_token"): Init("constant", 0.0),
    ("dual monai", "patch_embed.proj.weight"): Init("normal", 0.02),
}


@pytest.mark.parametrize(("name", "weight"), SOURCES)
def test_table_says_what_the_sources_do(name, weight):
    config = suite.FRESH[name]
    wanted = SOURCES[name, weight]
    assert problem(fresh_torch(config)[weight], wanted, config) is None
