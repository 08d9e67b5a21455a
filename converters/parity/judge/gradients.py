"""Judges gradients of the weights and of the input."""

from __future__ import annotations

import math

import numpy as np

from converters.mapping.pipe import Array
from converters.parity.judge.base import NONE, Comparison, invisible
from converters.parity.record import Check, GradientRow


class Gradients(Comparison):
    """Judges gradients."""

    def gradients(self) -> tuple[list[GradientRow], list[Check]]:
        """Of every weight and of the input.

        Matrices are judged together and so are vectors, each tensor measured in units
        of its own noise. Vectors get four times the limit: TensorFlow on the CPU sums
        the gradient of a bias one token after the other, torch in pairs, so that a
        correct one is up to ten times as far off (TensorFlow 2.21).
        """
        rows = []
        groups: dict[str, list[tuple[float, int]]] = {}
        for key in self.asked("grad:"):
            if self.meaning == "source" and key not in self.given:
                continue  # its weights have other names
            name = key.removeprefix("grad:")
            if invisible(name, self.config):
                continue
            found = self.compared(key) if self.fits(key) else NONE
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
                self.pooled_check("gradients", f"gradients, {group}", pooled, limit)
            )
        return rows, checks


def _group(name: str, values: Array) -> str:
    if name == "input":
        return "input"
    return "matrices" if np.squeeze(values).ndim > 1 else "vectors"
