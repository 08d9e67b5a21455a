"""Judges every step between input and output."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from converters.judging.statistics import sqnr_db, ulp_distance, ulp_percentiles
from converters.parity.judge.base import NONE, Comparison
from converters.parity.record import Check, LayerRow
from converters.workers.reference import EXACT

JUDGED_TAPS = ("norm", "residual2", "attn.maps")
"""Cumulative results that are tokens; what lies between is reported."""


class Layers(Comparison):
    """Judges the steps."""

    def layers(self, kinds: Iterable[str]) -> tuple[list[LayerRow], list[Check]]:
        """Every step on every kind of input: rows, and a check a kind and mode."""
        rows: list[LayerRow] = []
        checks = []
        for kind in kinds:
            for mode, start in (("cumulative", "taps"), ("forced", "forced")):
                prefix = f"{start}:{kind}:"
                keys = self.asked(prefix)
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
        found = self.compared(key) if self.fits(key) else NONE
        ulps = dict.fromkeys(("p50", "p99", "max"), math.nan)
        if self.fits(key):
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
        if not self.fits(key):
            return ()
        exact = self.reference[f"{EXACT}{key}"]
        error = np.abs(self.given[key].astype(np.float64) - exact)
        place = np.unravel_index(
            int(np.argmax(np.nan_to_num(error, nan=np.inf))), error.shape
        )
        return tuple(int(i) for i in place)


def _order(ratio: float) -> float:
    return math.inf if math.isnan(ratio) else ratio
