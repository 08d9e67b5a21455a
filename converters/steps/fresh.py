"""Tensors that no source has: drawn from a seed, as a fresh model draws them.

NumPy draws them, so that a head is the same in both twins and in a file. Every tensor
has a stream of its own, made of the seed and its name: what else is drawn does not
matter.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from fnmatch import fnmatchcase

import numpy as np

from converters.errors import Issue, printable
from converters.mapping.pipe import Array, Source
from converters.mapping.table import ZERO, Plan
from converters.steps.stage import Make, Stage
from converters.wording import options
from vit_config import ViTConfig
from vit_config.init import initial
from vit_config.sincos import sincos_table
from vit_config.weights import Weight, weight_table


def draw(config: ViTConfig, weight: Weight, seed: int) -> Array:
    """Draws one tensor from the distribution of `vit_config.init`.

    Args:
        config: The model.
        weight: The tensor.
        seed: 0 or more.

    Returns:
        float32, in canonical layout.
    """
    generator = np.random.default_rng([seed, zlib.crc32(weight.name.encode())])
    init, shape = initial(config, weight), weight.shape
    match init.kind:
        case "sincos":
            return sincos_table(config)
        case "normal":
            values = init.value * generator.standard_normal(shape)
        case "truncated_normal":
            values = init.value * _cut_normal(generator, shape)
        case "uniform":
            values = generator.uniform(-init.value, init.value, shape)
        case _:
            values = np.full(shape, init.value)
    made: Array = values.astype(np.float32)
    return made


def _cut_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A unit normal cut at two: what falls outside is drawn again."""
    values = generator.standard_normal(shape)
    outside = np.abs(values) > 2
    while outside.any():
        values[outside] = generator.standard_normal(int(outside.sum()))
        outside = np.abs(values) > 2
    return values


def drawn(config: ViTConfig, names: Iterable[str], seed: int) -> dict[str, Make]:
    """How to draw these tensors of a model."""
    weights = {weight.name: weight for weight in weight_table(config)}

    def make(weight: Weight) -> Make:
        def run(source: Source) -> Array:
            return draw(config, weight, seed)

        return run

    return {name: make(weights[name]) for name in names}


def missing(config: ViTConfig, names: tuple[str, ...], seed: int) -> Stage:
    """The step that draws what a source lacks."""
    names = tuple(sorted(names))
    return Stage(
        text=f"allow_missing:{','.join(names)}:seed={seed}",
        config=config,
        makes=drawn(config, names, seed),
        drawn=names,
        notes=(f"not in the source, drawn at random: {', '.join(names)}",),
    )


def forgive(
    issues: list[Issue], plan: Plan, globs: Iterable[str]
) -> tuple[list[Issue], set[str]]:
    """Takes out missing tensors that may be missing.

    A tensor is meant by its name in the file or by its canonical one. What makes up one
    tensor (query, key and value) may be missing as a whole only.

    Args:
        issues: What does not fit.
        plan: From the file's names to the canonical ones.
        globs: Patterns of names, as in a shell.

    Returns:
        The issues that stay, and the canonical tensors that must be drawn.
    """
    lacking = {issue.name for issue in issues if issue.kind == "missing"}
    forgiven: set[str] = set()
    fresh: set[str] = set()
    unused = []
    for glob in globs:
        hits = False
        for step in plan.steps:
            sources = {name for name in step.sources if name != ZERO}
            names = {*sources, *step.targets}
            if sources <= lacking and any(fnmatchcase(name, glob) for name in names):
                hits = True
                forgiven |= sources
                fresh |= set(step.targets)
        if not hits:
            given = options(allow_missing=printable(glob))
            text = f"{given}: no missing tensor has such a name"
            unused.append(Issue("config", "", text))
    kept = [issue for issue in issues if issue.name not in forgiven]
    return kept + unused, fresh
