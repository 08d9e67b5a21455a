"""Reads golden outputs and judges a backend's outputs by them.

Knows no framework: a backend is a callable that takes NumPy arrays in torch layout and
returns the outputs asked for, in torch layout again. Names of outputs:

- `output`: what calling the model gives.
- `features`: `forward_features`, (B, N, D).
- `pre_logits`: `forward_head(features, pre_logits=True)`.
- `hidden.{i}`: all tokens after block `i`, not normed, (B, N, D).
- `map.{i}`, `prefix.{i}`: `forward_intermediates(reshape=True,
  return_prefix_tokens=True)`, (B, D, *grid) and (B, P, D); `map_norm.{i}` and
  `prefix_norm.{i}` the same with `norm=True`.
- `attention.{i}`: attention maps, (B, H, N, N).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import safe_open

from converters.parity.selftest.recorded import FOLDER
from tests.fill import FAINT, fill_weights, image
from vit_config import ViTConfig

EPS32 = 2.0**-23
RMS_LIMIT = 2.0
MAX_LIMIT = 4.0

Arrays = dict[str, np.ndarray]
Backend = Callable[[ViTConfig, Arrays, np.ndarray, list[str]], Arrays]
"""(config, canonical weights, input, names) -> outputs, all in torch layout."""


@dataclass(frozen=True)
class Golden:
    """One input kind of one case.

    Attributes:
        case: Name of the case.
        kind: Name of the input kind.
        config: The model.
        weights: Its canonical weights.
        x: Its input, torch layout.
        oracle: Float64 outputs of the library's model; the first rows of the batch.
        library: Its own float32 outputs, the same rows.
        alternative: Its float32 outputs with patches by convolution, as the twins have
            them, where `library` makes them by a matrix product; else empty.
        tolerance: Largest relative difference to expect in float64.
    """

    case: str
    kind: str
    config: ViTConfig
    weights: Arrays
    x: np.ndarray
    oracle: Arrays
    library: Arrays
    alternative: Arrays
    tolerance: float


@dataclass(frozen=True)
class Judgement:
    """One output by the RMS rule.

    Attributes:
        name: `kind/output`.
        rms: RMS error over the library's own float32 one, or the bound of that.
        largest: The same for the largest error.
        limit: Largest `largest` allowed; infinite where single numbers are not judged.
    """

    name: str
    rms: float
    largest: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether both errors are within their limits (NaN is not)."""
        return self.rms <= RMS_LIMIT and self.largest <= self.limit

    def __str__(self) -> str:
        return f"{self.name}: rms {self.rms:.3g}x, largest {self.largest:.3g}x"


def case_names() -> list[str]:
    """Names of all cases, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def describe(case: str) -> dict[str, Any]:
    """The description in a golden file: library, versions, arguments, config."""
    with safe_open(FOLDER / f"{case}.safetensors", framework="numpy") as file:
        return json.loads(file.metadata()["golden"])


def goldens(case: str) -> Iterator[Golden]:
    """The input kinds of a case, weights and inputs made anew."""
    description = describe(case)
    config = ViTConfig.from_dict(description["config"])
    with safe_open(FOLDER / f"{case}.safetensors", framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for kind, spec in description["inputs"].items():
        faint = spec["faint_fill"]
        weights = fill_weights(config, faint=faint)
        if "weights/pos_embed" in arrays:  # the library's own table
            scale = np.float32(FAINT if faint else 1.0)
            weights["pos_embed"] = arrays["weights/pos_embed"] * scale
        shape = (spec["batch"], config.in_chans, *config.img_size)
        yield Golden(
            case,
            kind,
            config,
            weights,
            image(shape, spec["seed"], spec["kind"]),
            _outputs(arrays, kind, "oracle"),
            _outputs(arrays, kind, "library"),
            _outputs(arrays, kind, "alternative"),
            description["tolerance"],
        )


def _outputs(arrays: Arrays, kind: str, who: str) -> Arrays:
    """Outputs named `{kind}/{output}/{who}`, by output."""
    split = {name: name.split("/") for name in arrays}
    return {
        parts[1]: arrays[name]
        for name, parts in split.items()
        if parts[0] == kind and parts[-1] == who
    }


def judge(golden: Golden, given: Arrays) -> list[Judgement]:
    """Compares float32 outputs by the RMS rule.

    The error against the float64 oracle may be at most twice the library's own float32
    error; eps32 times the RMS of the oracle is the least that counts as such. Largest
    errors are judged on tokens, maps and attention only (at most four times): among few
    logits they say little. Where the library also has the twins' way to make patches,
    the larger of its two errors counts: on the CPU, oneDNN's convolution sums one
    product after the other and errs up to four times as much as a matrix product.

    Args:
        golden: The case.
        given: What the backend gave, see `run`.
    """
    found = []
    for name, oracle in golden.oracle.items():
        ours = _ours(golden, name, given)
        error = ours.astype(np.float64) - oracle
        floors = [
            outputs[name].astype(np.float64) - oracle
            for outputs in (golden.library, golden.alternative)
            if name in outputs
        ]
        least = EPS32 * _rms(oracle)
        found.append(
            Judgement(
                f"{golden.kind}/{name}",
                _rms(error) / max(least, *map(_rms, floors)),
                _largest(error) / max(least, *map(_largest, floors)),
                MAX_LIMIT if oracle.ndim > 2 else math.inf,
            )
        )
    return found


def exactness(golden: Golden, given: Arrays) -> float:
    """Largest difference of float64 outputs, relative to the largest value."""
    worst = 0.0
    for name, oracle in golden.oracle.items():
        ours = _ours(golden, name, given)
        if ours.dtype != np.float64:
            raise ValueError(f"{name}: {ours.dtype}, not a float64 run")
        difference = _largest(ours - oracle) / _largest(oracle)
        if not difference <= worst:  # also if it is NaN
            worst = difference
    return worst


def run(golden: Golden, backend: Backend, dtype: type = np.float32) -> Arrays:
    """Calls a backend for all outputs that this golden has, on the rows it has."""
    weights = {name: values.astype(dtype) for name, values in golden.weights.items()}
    x = golden.x.astype(dtype)
    found: Arrays = {}
    for rows in {len(oracle) for oracle in golden.oracle.values()}:
        names = [name for name, oracle in golden.oracle.items() if len(oracle) == rows]
        found |= backend(golden.config, weights, x[:rows], names)
    return found


def _ours(golden: Golden, name: str, given: Arrays) -> np.ndarray:
    ours, wanted = given[name], golden.oracle[name].shape
    if ours.shape != wanted:
        raise ValueError(
            f"{golden.case} {golden.kind}/{name}: {ours.shape}; the library: {wanted}"
        )
    return ours


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max())
