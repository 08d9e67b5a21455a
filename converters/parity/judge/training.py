"""Judges some steps of every optimizer."""

from __future__ import annotations

import math

import numpy as np

from converters.judging.rms import EPS32
from converters.parity.judge.base import Comparison, floats, invisible
from converters.parity.record import Check, Curve
from converters.workers.reference import EXACT


class Training(Comparison):
    """Judges loss and parameters."""

    def training(self) -> tuple[list[Curve], list[Check]]:
        """Loss and parameters after some steps of every optimizer."""
        names = dict.fromkeys(key.split(":")[1] for key in self.asked("train:"))
        curves, checks = [], []
        for optimizer in names:
            drift, own = self._drift(optimizer)
            loss = f"train:{optimizer}:loss"
            curves.append(
                Curve(
                    subject=self.subject,
                    optimizer=optimizer,
                    loss=floats(self.given.get(loss)),
                    loss_reference=floats(self.reference[loss]),
                    loss_exact=floats(self.reference[f"{EXACT}{loss}"]),
                    drift=drift,
                    drift_reference=own,
                )
            )
            ratio = drift / max(own, EPS32)
            limit = self.criteria.training_ratio
            checks.append(
                self.pooled_check(
                    "training", f"parameters after {optimizer}", ratio, limit
                )
            )
        return curves, checks

    def _drift(self, optimizer: str) -> tuple[float, float]:
        """How far the parameters are from the exact ones, over how far they moved."""
        start = f"train:{optimizer}:"
        given = reference = moved = 0.0
        for key in self.asked(start):
            name = key.removeprefix(start)
            if name == "loss" or invisible(name, self.config):
                continue
            exact = self.reference[f"{EXACT}{key}"]
            before = self.start(name)
            if not self.fits(key):
                return math.nan, math.nan
            given += float(np.sum((self.given[key].astype(np.float64) - exact) ** 2))
            reference += float(np.sum((self.reference[key] - exact) ** 2))
            moved += float(np.sum((exact - before) ** 2))
        if moved == 0:
            return math.nan, math.nan
        return math.sqrt(given / moved), math.sqrt(reference / moved)
