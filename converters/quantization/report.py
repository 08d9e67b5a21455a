"""What quantising a model saved and cost, as data and as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from converters.checks.architecture import (
    Rows,
    identity_facts,
    identity_rows,
    model_rows,
)
from converters.errors import printable
from converters.reports.html_table import html_table
from converters.reports.phases import phases_text

if TYPE_CHECKING:
    from converters.files.base import Raw
    from vit_config import ViTConfig

Array = NDArray[Any]

WARNING = "int8 quantised, not identical to the model it was made from"

NOISE = "seeded noise"


@dataclass(frozen=True, slots=True)
class Quantization:
    """How far outputs moved, of one set of inputs.

    Attributes:
        inputs: How many inputs.
        what: What they are: seeded noise, or the user's own.
        error: RMS of the differences over the RMS of the outputs in float32.
        max_difference: Largest difference of an output.
        max_output: Largest magnitude of an output in float32.
        agreement: Share of inputs with the same class first; of a model whose classes
            are each a yes or no, share of these that stay. None if it has no classes.
        classes: How many classes come first for any of the inputs, in float32. If that
            is one, the agreement says little.
        rule: `"top-1"`, `"each over 0.5"`, or why there is no agreement.
    """

    inputs: int
    what: str
    error: float
    max_difference: float
    max_output: float
    agreement: float | None
    classes: int
    rule: str


def moved(config: ViTConfig, before: Array, after: Array, what: str) -> Quantization:
    """Compares outputs before and after, in float64.

    Args:
        config: Of the model.
        before: Outputs in float32, (B, ...).
        after: The same of the quantised model.
        what: What the inputs are.
    """
    old, new = before.astype(np.float64), after.astype(np.float64)
    size = float(np.sqrt(np.mean(old**2)))
    agreement, classes, rule = None, 0, _no_decision(config)
    if not rule and config.problem_type == "multi_label":
        agreement, rule = float(np.mean((old > 0) == (new > 0))), "each over 0.5"
    elif not rule:
        same = old.argmax(axis=-1) == new.argmax(axis=-1)
        agreement, rule = float(np.mean(same)), "top-1"
        classes = len(np.unique(old.argmax(axis=-1)))
    return Quantization(
        inputs=len(old),
        what=what,
        error=float(np.sqrt(np.mean((new - old) ** 2))) / size if size else 0.0,
        max_difference=float(np.abs(new - old).max()),
        max_output=float(np.abs(old).max()),
        agreement=agreement,
        classes=classes,
        rule=rule,
    )


def _no_decision(config: ViTConfig) -> str:
    if not config.num_classes:
        return "the model has no head"
    if config.head_act is not None and config.problem_type is None:
        return f"the head ends in {config.head_act}, and problem_type is not stated"
    if config.problem_type == "regression":
        return "problem_type is regression"
    if config.num_classes == 1 and config.problem_type != "multi_label":
        return "one class is always the first"
    return ""


@dataclass(frozen=True, slots=True)
class QuantizationReport:
    """A quantised model that was written, loaded anew and compared.

    Attributes:
        source: What was read.
        target: What was written.
        source_format: Format of what was read.
        source_dialect: How its tensors are named.
        config: Config of the written model; its `source.steps` end with the step.
        raw: What it takes as it is; None: inputs that are prepared.
        fingerprint: SHA-256 over the canonical weights before they were quantised.
        layers: Paths of the layers that were quantised.
        parameters: Number of scalars in the weights.
        weight_bytes: Of the weights in memory: in float32, and quantised.
        file_bytes: Of the `.keras`: in float32, and quantised.
        figures: How far the outputs moved.
        seconds_float: Of one call in float32.
        seconds_quantized: Of one call of the quantised model, in the same process.
        batch: Inputs of such a call.
        versions: Of Keras and its backend.
        seconds: Time it all took.
        phases: Seconds of each part of the work, by its name, in order.
    """

    source: Path
    target: Path
    source_format: str
    source_dialect: str
    config: ViTConfig
    raw: Raw | None
    fingerprint: str
    layers: tuple[str, ...]
    parameters: int
    weight_bytes: tuple[int, int]
    file_bytes: tuple[int, int]
    figures: Quantization
    seconds_float: float
    seconds_quantized: float
    batch: int
    versions: Mapping[str, str]
    seconds: float
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def size_ratio(self) -> float:
        """Size of the file over that of the same model in float32."""
        return self.file_bytes[1] / self.file_bytes[0]

    @property
    def speed_ratio(self) -> float:
        """Inputs per second over those in float32; under 1 is slower."""
        return self.seconds_float / self.seconds_quantized

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types; of the paths only the file names."""
        return {
            "ok": True,
            "identical": False,
            "source": self.source.name,
            "target": self.target.name,
            "source_format": self.source_format,
            "source_dialect": self.source_dialect,
            "config": self.config.to_dict(),
            "with_preprocessing": self.raw is not None,
            **identity_facts(self.config, self.fingerprint),
            "layers": list(self.layers),
            "parameters": self.parameters,
            "weight_bytes": list(self.weight_bytes),
            "file_bytes": list(self.file_bytes),
            "size_ratio": self.size_ratio,
            "figures": asdict(self.figures),
            "seconds_float": self.seconds_float,
            "seconds_quantized": self.seconds_quantized,
            "speed_ratio": self.speed_ratio,
            "batch": self.batch,
            "reload_identical": True,
            "versions": dict(self.versions),
            "seconds": round(self.seconds, 3),
            "phases": {name: round(s, 3) for name, s in self.phases.items()},
        }

    def to_json(self) -> str:
        """All fields as one line of JSON."""
        return json.dumps(self.to_dict())

    def rows(self) -> list[tuple[str, str]]:
        """What the card says, too: label and text."""
        one = self.figures
        megabytes = [f"{size / 1e6:,.1f}" for size in self.file_bytes]
        weights = [f"{size / 1e6:,.1f}" for size in self.weight_bytes]
        rates = [
            f"{self.batch / seconds:,.1f}"
            for seconds in (self.seconds_quantized, self.seconds_float)
        ]
        if one.agreement is None:
            agreement = f"none: {one.rule}"
        else:
            agreement = f"{one.agreement:.1%}, {one.rule}"
        if one.classes:
            count = f"{one.classes} class{'es' if one.classes > 1 else ''}"
            come = "comes" if one.classes == 1 else "come"
            agreement += f" (of {count} that {come} first)"
        return [
            ("quantised", f"{len(self.layers)} layers; all others stay in float32"),
            (
                "size",
                f"{megabytes[1]} MB, {self.size_ratio:.2f} x the {megabytes[0]} MB of "
                f"float32; weights in memory {weights[1]} of {weights[0]} MB",
            ),
            ("inputs", f"{one.inputs}, {one.what}"),
            ("agreement", agreement),
            (
                "error",
                f"{one.error:.2g} of the outputs' RMS; largest difference "
                f"{one.max_difference:.2g}, largest output {one.max_output:.2g}",
            ),
            (
                "speed",
                f"{self.speed_ratio:.2f} x float32: {rates[0]} inputs/s, "
                f"{rates[1]} in float32, in turns, batch {self.batch}",
            ),
            ("reload", "the same bits in a fresh process, of all outputs"),
            ("ran with", ", ".join(f"{k} {v}" for k, v in self.versions.items())),
        ]

    def _rows(self) -> Rows:
        dialect = f", {self.source_dialect}" if self.source_dialect else ""
        source = f"{printable(self.source.name)} ({self.source_format}{dialect})"
        return [
            ("source", source),
            (
                "target",
                f"{printable(self.target.name)} (keras) in {self.seconds:.1f} s",
            ),
            ("verdict", WARNING),
            *model_rows(self.config),
            *self.rows(),
            ("took", phases_text(self.phases, self.seconds)),
            *((label, f"{text} (before)") for label, text in self._identity()),
        ]

    def _identity(self) -> Rows:
        """Of the model that was quantised; its rounded weights have no fingerprint."""
        return identity_rows(self.config, self.fingerprint)

    def __str__(self) -> str:
        return "\n".join(f"{label:<12} {text}" for label, text in self._rows())

    def _repr_html_(self) -> str:
        return html_table(self._rows())
