"""Judges logits, pooled vectors and tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from converters.judging.rms import LEAST_INPUTS, RmsComparison
from converters.judging.statistics import (
    largest_kl,
    top_agreement,
    ulp_distance,
    ulp_histogram,
    ulp_percentiles,
)
from converters.mapping.pipe import Array
from converters.parity.judge.base import Comparison, floats
from converters.parity.record import Check, Histogram, Level, Scatter, Status
from converters.workers.reference import EXACT
from converters.workers.size import LEAST_NUMBERS

SCATTER = 512


class Outputs(Comparison):
    """Judges what comes out."""

    def outputs(self, kinds: Iterable[str]) -> Iterator[Check]:
        """Logits, pooled vectors and tokens on every kind of input."""
        for kind in kinds:
            for part in ("outputs", "pooled", "tokens"):
                key = f"set:{kind}:{part}"
                if key in self.given:
                    yield self._output(key, self.name_of(part), kind)
        if "head" in self.given:
            yield self._output("head", "head alone", "noise tokens")

    def _output(self, key: str, name: str, kind: str) -> Check:
        given, reference = self.given[key], self.reference[key]
        if given.shape != reference.shape:
            return self._wrong_shape("logits", name, kind, given, reference)
        found = self.compared(key)
        enough = name == "tokens" or kind == "noise tokens" or self._enough(key, kind)
        same = given.tobytes() == reference.tobytes()
        problem, status = "", "reported"
        if self.bits and self.criteria.same_bits_on_torch and not same:
            problem = f"not the bits of torch: {found.max_difference:.2g} apart"
        if enough and not problem:
            problem = self._over(found, name == "tokens")
        if not np.isfinite(given).all():
            problem = "holds NaN or infinity"
        logits = name == "logits"
        kl, top1, top5 = self._decisions(given, reference) if logits else (None,) * 3
        if logits and not problem:
            problem = self._undecided(kl, top1, top5)
        if enough or self.bits or (logits and self._decides()):
            status = "failed" if problem else "passed"
        elif problem:
            status = "failed"
        return Check(
            level="logits",
            name=name,
            inputs=kind,
            subject=self.subject,
            meaning=self.meaning,
            status=_status(status),
            message=problem,
            count=len(given),
            limit=self.criteria.rms_ratio if enough else None,
            same_bits=same,
            ulps=ulp_percentiles(ulp_distance(given, reference)),
            kl=kl,
            top1=top1,
            top5=top5,
            **_figures(found),
        )

    def _enough(self, key: str, kind: str) -> bool:
        """Whether the numbers are many enough for their RMS to mean something."""
        count, width = self.reference[key].shape
        numbers = min(width, self.config.head_in_dim)
        if kind == "zeros":  # one input, repeated
            return bool(numbers >= LEAST_NUMBERS)
        return bool(count >= LEAST_INPUTS or count * numbers >= LEAST_NUMBERS)

    def _over(self, found: RmsComparison, tokens: bool) -> str:
        if not found.ratio <= self.criteria.rms_ratio:
            return (
                f"RMS error {found.ratio:.3g} times the noise, at most "
                f"{self.criteria.rms_ratio:g}"
            )
        if tokens and not found.max_ratio <= self.criteria.max_ratio:
            return (
                f"largest error {found.max_ratio:.3g} times the reference's, at most "
                f"{self.criteria.max_ratio:g}"
            )
        return ""

    def _decisions(
        self, given: Array, reference: Array
    ) -> tuple[float | None, float | None, float | None]:
        return (
            largest_kl(reference, given),
            top_agreement(reference, given, 1),
            top_agreement(reference, given, 5),
        )

    def _decides(self) -> bool:
        limits = (self.criteria.max_kl, self.criteria.min_top1, self.criteria.min_top5)
        return any(limit is not None for limit in limits)

    def _undecided(
        self, kl: float | None, top1: float | None, top5: float | None
    ) -> str:
        limits = self.criteria
        if limits.max_kl is not None and kl is not None and not kl <= limits.max_kl:
            return f"KL divergence {kl:.3g} nats, at most {limits.max_kl:g}"
        pairs = (("top-1", top1, limits.min_top1), ("top-5", top5, limits.min_top5))
        for name, value, least in pairs:
            if value is not None and least is not None and value < least:
                return f"{name} agreement {value:.2%}, at least {least:.2%}"
        return ""

    def histograms(self) -> Iterator[Histogram]:
        """Distances from the reference on noise, in units in the last place."""
        for part in ("outputs", "tokens"):
            key = f"set:noise:{part}"
            if self.fits(key):
                distance = ulp_distance(self.given[key], self.reference[key])
                yield ulp_histogram(distance, self.subject, self.name_of(part))

    def scatter(self) -> Scatter | None:
        """Some numbers of both on noise, evenly chosen."""
        key = "set:noise:outputs"
        if not self.fits(key):
            return None
        exact = self.reference[f"{EXACT}{key}"].reshape(-1)
        step = max(1, math.ceil(exact.size / SCATTER))
        return Scatter(
            subject=self.subject,
            name=self.name_of("outputs"),
            exact=floats(exact[::step]),
            given=floats(self.given[key].reshape(-1)[::step]),
        )

    def _wrong_shape(
        self, level: Level, name: str, kind: str, given: Array, wanted: Array
    ) -> Check:
        return Check(
            level=level,
            name=name,
            inputs=kind,
            subject=self.subject,
            meaning=self.meaning,
            status="failed",
            message=f"shape {given.shape}, the reference has {wanted.shape}",
        )


def _figures(found: RmsComparison) -> dict[str, float]:
    return {
        "ratio": found.ratio,
        "max_ratio": found.max_ratio,
        "error": found.error,
        "noise": found.noise,
        "max_difference": found.max_difference,
    }


def _status(text: str) -> Status:
    return {"passed": "passed", "failed": "failed"}.get(text, "reported")  # type: ignore[return-value]
