"""What the outputs of a model mean, and what a user says of that."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.checks.audit import unstated
from converters.errors import ConversionError, Issue
from converters.wording import Blank, options
from vit_config import ConfigError, ViTConfig
from vit_config.preprocess import make_plan
from vit_config.preprocess_volume import make_volume_plan


def check_stated(config: ViTConfig) -> None:
    """Refuses images or volumes for a model that does not state its preprocessing.

    Raises:
        ConversionError: With every field that is missing, and how to state it.
    """
    volumes = config.spatial_dims == 3
    try:
        (make_volume_plan if volumes else make_plan)(config)
    except ConfigError as error:
        issues = []
        for line in error.problems:
            name, _, text = line.partition(": ")
            issues.append(Issue("config", name, text))
        raise ConversionError(
            issues,
            hint="State what the model was trained with, as "
            + options(changes=_OF_VOLUMES if volumes else _OF_IMAGES)
            + f", {config.in_chans} numbers.",
        ) from None


_MEAN = {"data.mean": Blank("[...]")}
_OF_IMAGES = {"data.interpolation": "bicubic", "data.crop_pct": 0.9, **_MEAN}
_OF_VOLUMES = {"data.orientation": "RAS", "data.fit": "pad_or_crop", **_MEAN}


def probability(config: ViTConfig) -> tuple[str, str]:
    """How the head's outputs become probabilities.

    Returns:
        `"softmax"` or `"sigmoid"`, and empty; or empty, and why there are none.
    """
    if not config.num_classes:
        return "", "the model has no head"
    if config.problem_type is None:
        return "", unstated(config)
    if config.problem_type == "regression":
        return "", "problem_type is regression"
    if config.problem_type == "multi_label":
        return "sigmoid", ""
    if config.num_classes == 1:
        return "", "the softmax of one class is always 1"
    return "softmax", ""


def probabilities(outputs: NDArray[Any], how: str) -> NDArray[np.float64]:
    """Outputs (..., classes) as probabilities, in float64.

    Args:
        outputs: What the head gives: logits, or what a tanh makes of them.
        how: `"softmax"` or `"sigmoid"`.
    """
    x = outputs.astype(np.float64)
    if how == "softmax":
        grown = np.exp(x - x.max(axis=-1, keepdims=True))
        found: NDArray[np.float64] = grown / grown.sum(axis=-1, keepdims=True)
        return found
    # Both halves without an overflow.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))
