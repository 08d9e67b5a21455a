"""Holds a written artifact against the torch twin, by the RMS rule.

The artifact runs in a process of its own that can import neither twin nor Keras
(`converters.runtimes.checker`), the torch twin of the same weights in another, in
float32 and in float64 (`converters.workers.reference`). Both get the same seeded noise,
the artifact in batches of 1, of 3 and of all that is left.

- Every output of numbers is judged as in `converters.conversion.outputs`, at most 2.
  Where an output has too few numbers for that, chance alone can make it more; at most
  16 then, as mistakes make it hundreds. A runtime that rounds more than torch may be at
  `converters.runtimes.rounding`'s limit.
- Probabilities are held against the softmax or sigmoid, in float64, of the artifact's
  own logits, label strings against its own probabilities.
- `serve_bytes` gets pictures of several sizes, as PNG, or volumes of several sizes, as
  16-bit integers. Pictures are prepared for the twin by NumPy, from the same plan
  (`vit_config.preprocess`), volumes by the torch twin's own layer, so that a decoder,
  resampling or normalisation that differs is seen. At most 4, as preprocessing rounds,
  too. Volumes for a model that does not state its preprocessing are noise again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.artifacts.contents import SERVE_BYTES, Contents
from converters.artifacts.meaning import probabilities as odds_of
from converters.artifacts.report import Figure
from converters.checks.audit import head_outputs
from converters.conversion.outputs import SEED
from converters.errors import ConversionError, Issue
from converters.extras import twin
from converters.judging.rms import LEAST_INPUTS, RMS_LIMIT, compare_rms
from converters.runtimes.rounding import rounding_limit
from converters.workers.reference import EXACT
from converters.workers.size import LEAST_NUMBERS, batch_of, inputs_for
from vit_config import ViTConfig

Array = NDArray[Any]

BATCHES = (1, 3)
FEW_LIMIT = 16.0
BYTES_LIMIT = 4.0
EXACT_LIMIT = 2e-6
"""Largest error of a probability, about 16 steps of float32 at 1."""

SIZES = ((3, 5, 2), (2, 1, 3), (1, 1, 1), (1, 2, 2))
"""Of what `serve_bytes` is given, about, as multiples of half the model's size."""

NOISE, BYTES = "noise", "bytes"


def cases(contents: Contents, model: Path, folder: Path) -> tuple[dict[str, Any], ...]:
    """What the artifact is asked, and what the torch twin; writes the inputs.

    Args:
        contents: What the artifact holds.
        model: A canonical file of its weights.
        folder: Where inputs and answers go.

    Returns:
        The jobs' cases, the artifact's without `"artifact"`, its path.
    """
    config = contents.config
    rng = np.random.default_rng(SEED)
    count = max(sum(BATCHES), inputs_for(config))
    shape = (count, config.in_chans, *config.img_size)
    np.save(folder / f"{NOISE}.npy", rng.standard_normal(shape, np.float32))
    ours: dict[str, Any] = {
        "format": contents.format,
        "inputs": f"{NOISE}.npy",
        "batches": batches_of(config, count),
        "answers": "artifact.npz",
        "alone": True,
    }
    theirs: dict[str, Any] = {
        "model": str(model),
        "config": config.to_dict(),
        "sets": {NOISE: f"{NOISE}.npy"},
        "batch": batch_of(config),
        "answers": "torch.npz",
    }
    if not contents.no_bytes:
        kind = "pictures" if config.spatial_dims == 2 else "volumes"
        ours[kind] = _encodable(contents, rng, folder)
        theirs["sets"][BYTES] = f"{BYTES}.npy"
    return ours, theirs


def batches_of(config: ViTConfig, count: int) -> list[int]:
    """Sizes of the batches: 1, 3, and the rest."""
    rest, size = count - sum(BATCHES), batch_of(config)
    return [*BATCHES, *(min(size, rest - i) for i in range(0, rest, size))]


def _encodable(contents: Contents, rng: np.random.Generator, folder: Path) -> list[str]:
    """Files of pixels or voxels; what the model takes of them goes into a set."""
    config = contents.config
    files, prepared = [], []
    for i, times in enumerate(SIZES):
        size = [
            max(1, n * t // 2 + 1) for n, t in zip(config.img_size, times, strict=False)
        ]
        if config.spatial_dims == 2:
            given = rng.integers(0, 256, (*size, config.in_chans), np.uint8)
            ready = _prepared(config, given)
        elif contents.no_preprocessing:
            given = rng.standard_normal(contents.input_shape, np.float32)
            ready = np.moveaxis(given, -1, 0)
        else:
            given = rng.integers(-500, 500, (*size, config.in_chans), np.int16)
            ready = _prepared_volume(config, given)
        files.append(f"given-{i}.npy")
        np.save(folder / files[-1], given)
        prepared.append(ready)
    np.save(folder / f"{BYTES}.npy", np.stack(prepared))
    return files


def _prepared(config: ViTConfig, pixels: Array) -> Array:
    """(H, W, C) of 8 bits -> (C, *img_size), in float64 to the end."""
    from vit_config.preprocess import WHITE, make_plan, weights

    plan = make_plan(config)
    rows, columns = (
        weights(axis, plan.interpolation, np) for axis in plan.axes(*pixels.shape[:2])
    )
    x = np.moveaxis(pixels.astype(np.float64), -1, 0)
    x = np.clip(x @ columns.T, 0.0, WHITE)
    x = np.clip(rows @ x, 0.0, WHITE) / WHITE
    gain, offset = (np.array(v)[:, None, None] for v in (plan.gain, plan.offset))
    found: Array = (x * gain + offset).astype(np.float32)
    return found


def _prepared_volume(config: ViTConfig, voxels: Array) -> Array:
    """(*spatial, C) of a scan -> (C, *img_size), by the torch twin."""
    import torch

    prepare = twin("torch_vit").Preprocess(config)
    given = torch.from_numpy(np.moveaxis(voxels.astype(np.float32), -1, 0)[None].copy())
    found: Array = prepare(given)[0].numpy()
    return found


def judged(
    contents: Contents,
    ours: Mapping[str, Array],
    theirs: Mapping[str, Array],
    said: Mapping[str, Any],
) -> tuple[Figure, ...]:
    """Every output of numbers, by the rule.

    Args:
        contents: What the artifact is to hold.
        ours: What it gave, by signature and output.
        theirs: What the torch twin gave.
        said: What else its process said.

    Raises:
        ConversionError: If an output is missing, has another shape, or differs by more
            than rounding; or if the artifact does not say of itself what it holds.
    """
    figures: list[Figure] = []
    issues: list[Issue] = []
    if said["facts"] != contents.facts_json():
        issues.append(Issue("file", "", "it does not say of itself what it holds"))
    for signature in contents.signatures():
        given = {
            name.removeprefix(f"{signature.name}:"): array
            for name, array in ours.items()
            if name.startswith(f"{signature.name}:")
        }
        wanted = {one.name for one in signature.outputs}
        if given.keys() != wanted:
            text = f"gives {sorted(given)}"
            issues.append(Issue("value", signature.name, text, str(sorted(wanted))))
            continue
        own = _figures(contents, signature.name, given, theirs)
        issues += [_issue(figure) for figure in own if not figure.passed]
        issues += _meaning(contents, signature.name, given)
        figures += own
    if issues:
        raise ConversionError(issues, causes=[_CAUSE])
    return tuple(figures)


_CAUSE = (
    "the runtime computes something else than the twin, or a mistake of this export"
)


def _issue(figure: Figure) -> Issue:
    return Issue(
        "value",
        f"{figure.signature}: {figure.output}",
        f"error {figure.ratio:.3g} times the noise of float32, largest difference "
        f"{figure.max_difference:.2g}",
        f"at most {figure.limit:g} times",
    )


def _figures(
    contents: Contents,
    signature: str,
    given: Mapping[str, Array],
    theirs: Mapping[str, Array],
) -> list[Figure]:
    encoded = signature == SERVE_BYTES
    prefix = f"set:{BYTES if encoded else NOISE}:"
    found = []
    for name, theirs_name in _names(contents).items():
        single = theirs[f"{prefix}{theirs_name}"]
        exact = theirs[f"{EXACT}{prefix}{theirs_name}"]
        values = given[name]
        if values.shape != single.shape or values.dtype != single.dtype:
            issue = Issue(
                "value",
                f"{signature}: {name}",
                f"{values.dtype} {values.shape}",
                f"{single.dtype} {single.shape}",
            )
            raise ConversionError([issue], causes=[_CAUSE])
        compared = compare_rms(values, single, exact)
        usual = rounding_limit(contents.format, contents.config)
        limit = max(usual, limit_of(name, single.shape))
        found.append(
            Figure(
                signature=signature,
                output=name,
                inputs=len(values),
                ratio=compared.ratio,
                max_ratio=compared.max_ratio,
                max_difference=compared.max_difference,
                limit=max(limit, BYTES_LIMIT) if encoded else limit,
            )
        )
    return found


def _names(contents: Contents) -> dict[str, str]:
    """The reference's names of the outputs that are judged, by ours."""
    found = {}
    if contents.head:
        found[contents.head] = "outputs"
    if contents.embedding:
        found["embedding"] = "pooled" if contents.head else "outputs"
    if contents.all_tokens:
        found["tokens"] = "tokens" if contents.embedding else "outputs"
    return found


def limit_of(name: str, shape: tuple[int, ...]) -> float:
    """What the ratio of an output of so many numbers may be."""
    if name == "tokens":
        return RMS_LIMIT
    many = shape[0] >= LEAST_INPUTS or math.prod(shape) >= LEAST_NUMBERS
    return RMS_LIMIT if many else FEW_LIMIT


def _meaning(
    contents: Contents, signature: str, given: Mapping[str, Array]
) -> list[Issue]:
    """Probabilities of the head's outputs, and label strings of those."""
    if not contents.probabilities:
        return []
    stated = given["probabilities"]
    exact = odds_of(given[contents.head], contents.probabilities)
    worst = float(np.abs(stated - exact).max())
    issues = []
    if not worst <= EXACT_LIMIT:
        name = f"{signature}: probabilities"
        of = head_outputs(contents.config)
        text = f"{worst:.2g} off the {contents.probabilities} of the {of}"
        issues.append(Issue("value", name, text, f"at most {EXACT_LIMIT:g}"))
    if contents.label_strings:
        labels = np.array(contents.config.labels)
        best = contents.label_strings == "label"
        wanted = (
            labels[stated.argmax(-1)] if best else np.tile(labels, (len(stated), 1))
        )
        if not np.array_equal(given[contents.label_strings], wanted):
            name = f"{signature}: {contents.label_strings}"
            issues.append(Issue("value", name, "other strings than the labels"))
    return issues
