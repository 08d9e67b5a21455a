"""Turns what the processes said into checks, by the RMS rule and the criteria."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from converters.engine import Array
from converters.parity.answers import FAINT_KIND
from converters.parity.criteria import Criteria
from converters.parity.outputs import LEAST_NUMBERS
from converters.parity.record import (
    Check,
    Curve,
    GradientRow,
    Histogram,
    LayerRow,
    Level,
    Meaning,
    Scatter,
    Status,
)
from converters.parity.reference import EXACT
from converters.parity.rms import (
    EPS32,
    LEAST_INPUTS,
    RmsComparison,
    compare_rms,
)
from converters.parity.statistics import (
    largest_kl,
    sqnr_db,
    top_agreement,
    ulp_distance,
    ulp_histogram,
    ulp_percentiles,
)
from vit_config import ViTConfig

Answers = Mapping[str, Array]

JUDGED_TAPS = ("norm", "residual2", "attn.maps")
"""Cumulative results that are tokens; what lies between is reported."""

SCATTER = 512
_NONE = RmsComparison(math.nan, math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Judge:
    """Holds one subject against the reference.

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

    def _fits(self, key: str) -> bool:
        """Whether the subject gave a result of the right shape."""
        return key in self.given and self.given[key].shape == self.own(key).shape

    def _asked(self, start: str) -> list[str]:
        """Names of the results that begin so."""
        whole = f"{EXACT}{start}"
        found = (key for key in self.reference if key.startswith(whole))
        return [key.removeprefix(EXACT) for key in found]

    # ---- outputs --------------------------------------------------------------

    def outputs(self, kinds: Iterable[str]) -> Iterator[Check]:
        """Logits, pooled vectors and tokens on every kind of input."""
        for kind in kinds:
            for part in ("outputs", "pooled", "tokens"):
                key = f"set:{kind}:{part}"
                if key in self.given:
                    yield self._output(key, self.name_of(part), kind)
        if "head" in self.given:
            yield self._output("head", "head alone", "noise tokens")

    def name_of(self, part: str) -> str:
        """What a model's output is."""
        if part != "outputs":
            return part
        if self.config.num_classes:
            return "tanh outputs" if self.config.head_act == "tanh" else "logits"
        return "tokens" if self.config.global_pool == "none" else "pooled"

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

    # ---- layers ---------------------------------------------------------------

    def layers(self, kinds: Iterable[str]) -> tuple[list[LayerRow], list[Check]]:
        """Every step on every kind of input: rows, and a check a kind and mode."""
        rows: list[LayerRow] = []
        checks = []
        for kind in kinds:
            for mode, start in (("cumulative", "taps"), ("forced", "forced")):
                prefix = f"{start}:{kind}:"
                keys = self._asked(prefix)
                if not keys:
                    continue
                mine = [
                    self._layer(key, key.removeprefix(prefix), kind) for key in keys
                ]
                rows += mine
                checks.append(self._layer_check(mine, kind, mode))
        return rows, checks

    def _layer(self, key: str, name: str, kind: str) -> LayerRow:
        forced = key.startswith("forced:")
        found = self.compared(key) if self._fits(key) else _NONE
        ulps = dict.fromkeys(("p50", "p99", "max"), math.nan)
        if self._fits(key):
            ulps = ulp_percentiles(ulp_distance(self.given[key], self.own(key)))
        ratio = found.ratio
        if forced:
            failed = not ratio <= self.criteria.layer_ratio
        else:
            failed = not ratio <= self.limit(name)
        return LayerRow(
            subject=self.subject,
            inputs=kind,
            name=name,
            mode="forced" if forced else "cumulative",
            ratio=ratio,
            error=found.error,
            noise=found.noise,
            ulps=ulps,
            sqnr_db=sqnr_db(found.error),
            failed=failed,
        )

    def limit(self, tap: str) -> float:
        """Of a cumulative result; what is no tokens rounds less evenly."""
        limits = self.criteria
        return limits.rms_ratio if tap.endswith(JUDGED_TAPS) else limits.layer_ratio

    def _layer_check(self, rows: list[LayerRow], kind: str, mode: str) -> Check:
        failed = [row for row in rows if row.failed]
        forced = mode == "forced"
        judged = [row for row in rows if forced or row.name.endswith(JUDGED_TAPS)]
        worst = max(failed or judged, key=lambda row: _order(row.ratio))
        message = f"largest at {worst.name}"
        if failed:
            message = f"begins at {failed[0].name}, {len(failed)} of {len(rows)} over"
        limit = self.criteria.layer_ratio if forced else self.limit(worst.name)
        return Check(
            level="layers",
            name="each step alone" if forced else "from the input on",
            inputs=kind,
            subject=self.subject,
            meaning=self.meaning,
            status="failed" if failed else "passed",
            message=message,
            count=len(judged),
            ratio=worst.ratio,
            limit=limit,
            error=worst.error,
            noise=worst.noise,
        )

    def where(self, row: LayerRow) -> tuple[int, ...]:
        """Place of a layer's largest error."""
        start = "forced" if row.mode == "forced" else "taps"
        key = f"{start}:{row.inputs}:{row.name}"
        if not self._fits(key):
            return ()
        exact = self.reference[f"{EXACT}{key}"]
        error = np.abs(self.given[key].astype(np.float64) - exact)
        place = np.unravel_index(
            int(np.argmax(np.nan_to_num(error, nan=np.inf))), error.shape
        )
        return tuple(int(i) for i in place)

    # ---- gradients ------------------------------------------------------------

    def gradients(self) -> tuple[list[GradientRow], list[Check]]:
        """Of every weight and of the input.

        Matrices are judged together and so are vectors, each tensor measured in units
        of its own noise. Vectors get four times the limit: TensorFlow on the CPU sums
        the gradient of a bias one token after the other, torch in pairs, so that a
        correct one is up to ten times as far off (TensorFlow 2.21).
        """
        rows = []
        groups: dict[str, list[tuple[float, int]]] = {}
        for key in self._asked("grad:"):
            if self.meaning == "source" and key not in self.given:
                continue  # its weights have other names
            name = key.removeprefix("grad:")
            if _invisible(name, self.config):
                continue
            found = self.compared(key) if self._fits(key) else _NONE
            rows.append(
                GradientRow(
                    subject=self.subject,
                    name=name,
                    ratio=found.ratio,
                    error=found.error,
                    noise=found.noise,
                )
            )
            size = self.reference[key].size
            groups.setdefault(_group(name, self.reference[key]), []).append(
                (found.ratio, size)
            )
        checks = []
        for group, ratios in groups.items():
            limit = self.criteria.gradient_ratio * (4 if group == "vectors" else 1)
            total = sum(ratio**2 * size for ratio, size in ratios)
            pooled = math.sqrt(total / sum(size for _, size in ratios))
            checks.append(
                self._pooled("gradients", f"gradients, {group}", pooled, limit)
            )
        return rows, checks

    # ---- training -------------------------------------------------------------

    def training(self) -> tuple[list[Curve], list[Check]]:
        """Loss and parameters after some steps of every optimizer."""
        names = dict.fromkeys(key.split(":")[1] for key in self._asked("train:"))
        curves, checks = [], []
        for optimizer in names:
            drift, own = self._drift(optimizer)
            loss = f"train:{optimizer}:loss"
            curves.append(
                Curve(
                    subject=self.subject,
                    optimizer=optimizer,
                    loss=_floats(self.given.get(loss)),
                    loss_reference=_floats(self.reference[loss]),
                    loss_exact=_floats(self.reference[f"{EXACT}{loss}"]),
                    drift=drift,
                    drift_reference=own,
                )
            )
            ratio = drift / max(own, EPS32)
            limit = self.criteria.training_ratio
            checks.append(
                self._pooled("training", f"parameters after {optimizer}", ratio, limit)
            )
        return curves, checks

    def _drift(self, optimizer: str) -> tuple[float, float]:
        """How far the parameters are from the exact ones, over how far they moved."""
        start = f"train:{optimizer}:"
        given = reference = moved = 0.0
        for key in self._asked(start):
            name = key.removeprefix(start)
            if name == "loss" or _invisible(name, self.config):
                continue
            exact = self.reference[f"{EXACT}{key}"]
            before = self.start(name)
            if not self._fits(key):
                return math.nan, math.nan
            given += float(np.sum((self.given[key].astype(np.float64) - exact) ** 2))
            reference += float(np.sum((self.reference[key] - exact) ** 2))
            moved += float(np.sum((exact - before) ** 2))
        if moved == 0:
            return math.nan, math.nan
        return math.sqrt(given / moved), math.sqrt(reference / moved)

    def _pooled(self, level: Level, name: str, ratio: float, limit: float) -> Check:
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

    # ---- pictures of it -------------------------------------------------------

    def histograms(self) -> Iterator[Histogram]:
        """Distances from the reference on noise, in units in the last place."""
        for part in ("outputs", "tokens"):
            key = f"set:noise:{part}"
            if self._fits(key):
                distance = ulp_distance(self.given[key], self.reference[key])
                yield ulp_histogram(distance, self.subject, self.name_of(part))

    def scatter(self) -> Scatter | None:
        """Some numbers of both on noise, evenly chosen."""
        key = "set:noise:outputs"
        if not self._fits(key):
            return None
        exact = self.reference[f"{EXACT}{key}"].reshape(-1)
        step = max(1, math.ceil(exact.size / SCATTER))
        return Scatter(
            subject=self.subject,
            name=self.name_of("outputs"),
            exact=_floats(exact[::step]),
            given=_floats(self.given[key].reshape(-1)[::step]),
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


def _order(ratio: float) -> float:
    return math.inf if math.isnan(ratio) else ratio


def _floats(values: Array | None) -> tuple[float, ...]:
    return () if values is None else tuple(float(value) for value in values)


def _group(name: str, values: Array) -> str:
    if name == "input":
        return "input"
    return "matrices" if np.squeeze(values).ndim > 1 else "vectors"


def _invisible(name: str, config: ViTConfig) -> bool:
    """Whether a weight changes no output: what all keys have in common cancels."""
    return name.endswith(".k_norm.bias")
