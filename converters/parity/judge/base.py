"""One subject's results beside the reference's, by the RMS rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from converters.judging.criteria import Criteria
from converters.judging.rms import RmsComparison, compare_rms
from converters.mapping.pipe import Array
from converters.parity.record import Check, Level, Meaning
from converters.workers.answers import FAINT_KIND
from converters.workers.reference import EXACT
from vit_config import ViTConfig

Answers = Mapping[str, Array]
NONE = RmsComparison(math.nan, math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Comparison:
    """One subject and the reference.

    Attributes:
        subject: What to call it.
        config: Of the reference.
        criteria: The limits.
        given: What the subject said.
        reference: What the torch twin said, in the type computed in and, under names
            that begin with "exact:", in float64.
        start: Values of a canonical weight before training.
        bits: Whether the subject must give the reference's very bits.
        meaning: Which meaning of "identical" is checked; the original library's own
            model ("source") is held to what it has answers for.
    """

    subject: str
    config: ViTConfig
    criteria: Criteria
    given: Answers
    reference: Answers
    start: Callable[[str], Array]
    bits: bool = False
    meaning: Meaning = "twins"

    def compared(self, key: str) -> RmsComparison:
        """One result by the RMS rule.

        Raises:
            ValueError: If shapes or types differ.
        """
        exact = self.reference[f"{EXACT}{key}"].astype(np.float64)
        return compare_rms(self.given[key], self.own(key), exact)

    def own(self, key: str) -> Array:
        """What the reference said; its steps alone are its taps."""
        start, _, rest = key.partition(":")
        forced = start == "forced" and not rest.startswith(f"{FAINT_KIND}:")
        return self.reference[f"taps:{rest}" if forced else key]

    def fits(self, key: str) -> bool:
        """Whether the subject gave a result of the right shape."""
        return key in self.given and self.given[key].shape == self.own(key).shape

    def asked(self, start: str) -> list[str]:
        """Names of the results that begin so."""
        whole = f"{EXACT}{start}"
        found = (key for key in self.reference if key.startswith(whole))
        return [key.removeprefix(EXACT) for key in found]

    def name_of(self, part: str) -> str:
        """What a model's output is."""
        if part != "outputs":
            return part
        if self.config.num_classes:
            return "tanh outputs" if self.config.head_act == "tanh" else "logits"
        return "tokens" if self.config.global_pool == "none" else "pooled"

    def pooled_check(
        self, level: Level, name: str, ratio: float, limit: float
    ) -> Check:
        """Many numbers' errors as one, in units of the noise."""
        passed = ratio <= limit
        return Check(
            level=level,
            name=name,
            inputs="noise",
            subject=self.subject,
            meaning=self.meaning,
            status="passed" if passed else "failed",
            message=""
            if passed
            else f"error {ratio:.3g} times the noise, at most {limit:g}",
            ratio=ratio,
            limit=limit,
        )


def floats(values: Array | None) -> tuple[float, ...]:
    """For the record; none where there are no values."""
    return () if values is None else tuple(float(value) for value in values)


def invisible(name: str, config: ViTConfig) -> bool:
    """Whether a weight changes no output: what all keys have in common cancels."""
    return name.endswith(".k_norm.bias")
