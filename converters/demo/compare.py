"""The laws of the demo: what must hold of a converted model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from converters.demo import train
from converters.demo.report import CaseReport, LayerError, percent
from converters.demo.task import Array, Task
from converters.judging.rms import EPS32, MAX_LIMIT, RMS_LIMIT, compare_rms
from converters.mapping.pipe import sha256
from converters.workers.process import LAYER_INPUTS, Answer

if TYPE_CHECKING:
    import torch_vit

Predict = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Reference:
    """The torch twin's answers in one mode, before anything was written.

    Attributes:
        single: Outputs over the test split, float32.
        oracle: The same in float64.
        single_layers: Intermediate results for its first inputs, float32.
        oracle_layers: The same in float64.
        predict: From outputs to classes.
    """

    single: Array
    oracle: Array
    single_layers: dict[str, Array]
    oracle_layers: dict[str, Array]
    predict: Predict


def reference(model: torch_vit.ViT, task: Task) -> Reference:
    """Asks the torch twin, in float32 and in float64."""
    x = task.split.test_x
    double = train.exact(model)
    return Reference(
        single=train.outputs(model, x),
        oracle=train.outputs(double, x),
        single_layers=train.layers(model, x[:LAYER_INPUTS]),
        oracle_layers=train.layers(double, x[:LAYER_INPUTS]),
        predict=predictor(model, task),
    )


def predictor(model: torch_vit.ViT, task: Task) -> Predict:
    """How outputs become classes.

    Logits: the largest. Tokens: the class whose mean training input is nearest, by the
    mean of the tokens; so features have predictions, too, without a second training.
    """
    if model.config.num_classes:
        return lambda logits: logits.argmax(-1)
    means = train.outputs(model, task.split.train_x).mean(1, dtype=np.float64)
    labels = task.split.train_y
    centres = np.stack([means[labels == k].mean(0) for k in np.unique(labels)])

    def nearest(tokens: Array) -> Array:
        points = tokens.mean(1, dtype=np.float64)
        distances = np.square(points[:, None] - centres).sum(-1)
        found: Array = distances.argmin(-1)
        return found

    return nearest


def judge(
    task: Task,
    mode: str,
    expected: Reference,
    answer: Answer,
    files: tuple[Path, Path],
) -> CaseReport:
    """Holds one case against every law.

    Args:
        task: What was trained.
        mode: `"classes"` or `"features"`.
        expected: The torch twin's answers.
        answer: Those of the converted model in the fresh process.
        files: The canonical file, and the one made from the `.keras` file.
    """
    y = task.split.test_y
    ours, theirs = expected.predict(answer.outputs), expected.predict(expected.single)
    found = compare_rms(answer.outputs, expected.single, expected.oracle)
    layers = layer_errors(expected, answer)
    identical, tensors = identical_tensors(*files)
    bar = task.bar if mode == "classes" else None
    accuracy, same = float(np.mean(theirs == y)), int(np.sum(ours == theirs))
    failures = []
    if bar is not None and accuracy < bar:
        failures.append(
            f"accuracy {percent(accuracy)}, below the bar of {percent(bar)}"
        )
    if same != len(y):
        failures.append(f"{len(y) - same} of {len(y)} predictions differ")
    if not found.ratio <= RMS_LIMIT:  # NaN fails
        failures.append(
            f"error {found.ratio:.3g} times the noise, "
            f"at most {RMS_LIMIT:g} is rounding" + first_divergence(layers)
        )
    if mode == "features" and not found.max_ratio <= MAX_LIMIT:
        failures.append(
            f"largest error {found.max_ratio:.3g} times the reference's, "
            f"at most {MAX_LIMIT:g} is rounding"
        )
    if identical != tensors:
        failures.append(f"{tensors - identical} of {tensors} tensors came back changed")
    return CaseReport(
        task=task.name,
        mode=mode,
        inputs=len(y),
        bar=bar,
        torch_accuracy=accuracy,
        keras_accuracy=float(np.mean(ours == y)),
        same=same,
        ratio=found.ratio,
        max_ratio=found.max_ratio,
        max_difference=found.max_difference,
        tensors=tensors,
        identical=identical,
        load_seconds=answer.load_seconds,
        layers=layers,
        failures=tuple(failures),
    )


def layer_errors(expected: Reference, answer: Answer) -> tuple[LayerError, ...]:
    """Both twins' errors in every intermediate result."""
    found = []
    for name, oracle in expected.oracle_layers.items():
        measured = compare_rms(
            answer.layers[name], expected.single_layers[name], oracle
        )
        found.append(LayerError(name, measured.error, measured.noise))
    return tuple(found)


def first_divergence(layers: tuple[LayerError, ...]) -> str:
    """Where a difference begins, as the end of a sentence."""
    for layer in layers:
        if not layer.keras <= RMS_LIMIT * max(layer.torch, EPS32):
            return f"; it begins at {layer.name}"
    return ""


def identical_tensors(first: Path, second: Path) -> tuple[int, int]:
    """How many tensors are equal in type, shape and every bit, and of how many."""
    digests = [_digests(path) for path in (first, second)]
    names = digests[0].keys() | digests[1].keys()
    same = sum(digests[0].get(name) == digests[1].get(name) for name in names)
    return same, len(names)


def _digests(path: Path) -> dict[str, tuple[str, tuple[int, ...], str]]:
    """Read with the safetensors library, not with the reader that is under test."""
    from safetensors.numpy import load_file

    return {
        name: (str(array.dtype), array.shape, sha256(array))
        for name, array in load_file(path).items()
    }
