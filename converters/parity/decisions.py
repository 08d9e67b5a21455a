"""From outputs to decisions, and how sure it is that decisions rarely change.

A decision is taken from the logits (or tanh outputs) in float64: a probability is over
the threshold t exactly where the logit is over ln(t / (1 - t)), and nothing is lost
near 0 and 1. So margins are in the unit of the logits and can be held against their
errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from converters.checks.audit import head_outputs
from converters.errors import refusal
from converters.extras import optional
from converters.wording import options, setting
from vit_config import ViTConfig

Array = NDArray[Any]

UNDECIDED = "not a number"
"""The decision where an output is NaN or infinite; it never counts as the same."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a decision is taken.

    Attributes:
        kind: `"largest"`: the class of the largest logit; `"yes"`: whether the single
            output is over the threshold; `"each"`: which outputs are.
        threshold: Over which a probability is a yes; None for the largest logit.
    """

    kind: Literal["largest", "yes", "each"]
    threshold: float | None = None

    def decide(self, logits: Array) -> tuple[list[str], list[float]]:
        """Decisions and their margins.

        Args:
            logits: (B, K).

        Returns:
            Of each row: the index of the class; `"yes"` or `"no"`; the indices of all
            classes over the threshold, such as `"0 3"`, or `"none"`. And the distance
            to the nearest other decision, in logits: from the second largest, or from
            the threshold.
        """
        x: Array = logits.astype(np.float64)
        given: Array = np.asarray(np.isfinite(x).all(axis=1))
        if self.threshold is None:
            names = [str(index) for index in x.argmax(axis=1)]
            top = np.sort(np.where(given[:, None], x, 0.0), axis=1)
            margins = top[:, -1] - top[:, -2]
        else:
            border = math.log(self.threshold) - math.log1p(-self.threshold)
            names = [self._over(row) for row in x > border]
            margins = np.abs(x - border).min(axis=1)
        pairs = zip(names, given, strict=True)
        decisions = [name if fine else UNDECIDED for name, fine in pairs]
        return decisions, np.where(given, margins, np.nan).tolist()

    def _over(self, row: Array) -> str:
        if self.kind == "yes":
            return "yes" if row[0] else "no"
        return " ".join(map(str, np.flatnonzero(row))) or "none"

    def correct(self, decision: str, label: int) -> bool:
        """Whether a decision is the label; a yes is 1."""
        if self.kind == "yes":
            return decision == ("yes" if label else "no")
        return decision == str(label)


def decision_rule(config: ViTConfig, threshold: float | None) -> Rule:
    """How a model's outputs become decisions.

    Args:
        config: Of the model; its `problem_type` says what the outputs mean.
        threshold: Over which a probability is a yes.

    Raises:
        ConversionError: If there is no head, if what its outputs mean is not stated, or
            if the threshold is missing, meaningless or not between 0 and 1.
    """
    kind, outputs = config.problem_type, config.num_classes
    if not outputs:
        raise _refused("the model has no head, so there is nothing to decide by")
    if kind == "regression":
        raise _refused("problem_type is regression: a number is no decision")
    if threshold is not None and not 0 < threshold < 1:
        text = f"{options(threshold=threshold)}: expected a number between 0 and 1"
        raise _refused(text)
    tanh = config.head_act == "tanh"
    if kind is None and (outputs == 1 or threshold is not None or tanh):
        raise _refused(
            "the config does not say what the outputs mean",
            f"State it: {setting(problem_type='multi_label')} where each output is a "
            "yes or no of its own (also a single one), "
            f"{setting(problem_type='single_label')} where one of the classes is "
            "right.",
        )
    if kind != "multi_label" and outputs > 1:
        if threshold is not None:
            raise _refused(
                f"{options(threshold=threshold)}: of {outputs} classes the largest "
                f"of the {head_outputs(config)} decides",
                "Leave it out.",
            )
        return Rule("largest")
    if threshold is None:
        raise _refused(
            "a yes or no needs a threshold",
            f"Give the one that the model is used with, as {options(threshold=0.5)}.",
        )
    if tanh and not -1 < math.log(threshold / (1 - threshold)) < 1:
        raise _refused(
            f"{options(threshold=threshold)}: the sigmoid of tanh outputs lies between "
            "0.269 and 0.731, all on one side of it"
        )
    return Rule("yes" if outputs == 1 else "each", threshold)


def _refused(message: str, hint: str = "") -> Exception:
    return refusal(f"cases: {message}", kind="config", hint=hint)


def upper_bound(changed: int, count: int, confidence: float = 0.95) -> float:
    """Exact one-sided upper bound of a share, by Clopper and Pearson.

    The largest share for which so few changes in so many cases would still be seen with
    probability 1 - confidence: the quantile of a beta distribution
    (`scipy.stats.binomtest(..., alternative="less")` says the same).

    Args:
        changed: How many changed.
        count: Of how many independent cases.
        confidence: Between 0 and 1.

    Raises:
        ValueError: If that is no share.
        MissingExtraError: If SciPy is not installed.
    """
    if not 0 <= changed <= count or not count or not 0 < confidence < 1:
        raise ValueError(f"{changed} of {count} with confidence {confidence}")
    if changed == count:
        return 1.0
    beta = optional("scipy.stats", "verify").beta
    return float(beta.ppf(confidence, changed + 1, count - changed))
