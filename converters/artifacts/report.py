"""What was exported, and how near its outputs are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from converters.artifacts.contents import Format, Signature
from converters.checks.architecture import (
    Rows,
    identity_facts,
    identity_rows,
    model_rows,
)
from converters.errors import printable
from converters.reports.html_table import html_table
from converters.reports.phases import phases_text
from vit_config import ViTConfig


@dataclass(frozen=True, slots=True)
class Figure:
    """One output of a written artifact, by the RMS rule (`converters.judging.rms`).

    Attributes:
        signature: Which signature gave it.
        output: Its name.
        inputs: How many inputs it was computed for.
        ratio: RMS error of the artifact over that of the torch twin in float32, both
            against the torch twin in float64.
        max_ratio: The same of the largest errors.
        max_difference: Largest difference between artifact and torch twin in float32.
        limit: What `ratio` may be at most.
    """

    signature: str
    output: str
    inputs: int
    ratio: float
    max_ratio: float
    max_difference: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether it is within its limit; NaN is not."""
        return self.ratio <= self.limit


@dataclass(frozen=True, slots=True)
class ExportReport:
    """An artifact that was written, run and compared.

    Attributes:
        source: What was read.
        target: What was written, a file or a folder.
        format: A value of `converters.artifacts.contents.FORMATS`.
        source_format: Format of what was read.
        source_dialect: How its tensors are named.
        config: Config of the model.
        fingerprint: SHA-256 over the canonical weights, see `converters.mapping.pipe`.
        dtype: Type of the weights in the source; the artifact computes in float32.
        tensors: Number of tensors.
        parameters: Number of scalars in them.
        signatures: Every way to call the artifact: inputs, outputs, and whether the
            preprocessing is done inside. The first is the default.
        probabilities: `"softmax"`, `"sigmoid"`, or empty if there are none.
        notes: What a user has to know, one sentence each.
        parity: How near the outputs are; all passed, or nothing was written.
        batches: Sizes of the batches that were run.
        versions: Of what wrote and ran it.
        files: Size in bytes of each file, by its path below the target's folder.
        seconds: Time it took.
        phases: Seconds of each part of the work, by its name, in order.
    """

    source: Path
    target: Path
    format: Format
    source_format: str
    source_dialect: str
    config: ViTConfig
    fingerprint: str
    dtype: str
    tensors: int
    parameters: int
    signatures: tuple[Signature, ...]
    probabilities: str
    notes: tuple[str, ...]
    parity: tuple[Figure, ...]
    batches: tuple[int, ...]
    versions: Mapping[str, str]
    files: Mapping[str, int]
    seconds: float
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every output is within its limit."""
        return bool(self.parity) and all(figure.passed for figure in self.parity)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types; of the paths only the file names."""
        return {
            "ok": self.ok,
            "source": self.source.name,
            "target": self.target.name,
            "format": self.format,
            "source_format": self.source_format,
            "source_dialect": self.source_dialect,
            "config": self.config.to_dict(),
            **identity_facts(self.config, self.fingerprint),
            "dtype": self.dtype,
            "tensors": self.tensors,
            "parameters": self.parameters,
            "signatures": [asdict(one) for one in self.signatures],
            "probabilities": self.probabilities,
            "notes": list(self.notes),
            "parity": [asdict(figure) for figure in self.parity],
            "batches": list(self.batches),
            "versions": dict(self.versions),
            "files": dict(self.files),
            "seconds": round(self.seconds, 3),
            "phases": {name: round(s, 3) for name, s in self.phases.items()},
        }

    def to_json(self) -> str:
        """All fields as one line of JSON."""
        return json.dumps(self.to_dict())

    def _rows(self) -> Rows:
        dialect = f", {self.source_dialect}" if self.source_dialect else ""
        size = sum(self.files.values()) / 1e6
        count = f"{len(self.files)} file{'s' if len(self.files) != 1 else ''}"
        rows = [
            (
                "source",
                f"{printable(self.source.name)} ({self.source_format}{dialect})",
            ),
            (
                "target",
                f"{printable(self.target.name)} ({self.format}, {count}, "
                f"{size:,.1f} MB) in {self.seconds:.1f} s",
            ),
            *model_rows(self.config),
            ("weights", f"{self.tensors} tensors, {self.parameters:,} x {self.dtype}"),
        ]
        for signature in self.signatures:
            takes = ", ".join(map(str, signature.inputs))
            rows.append((signature.name, f"takes {takes}"))
            rows.append(("", f"gives {', '.join(map(str, signature.outputs))}"))
            rows.append(("", f"preprocessing {signature.says}"))
        rows += [("note", printable(note, 300)) for note in self.notes]
        for name in dict.fromkeys(figure.signature for figure in self.parity):
            rows.append(("outputs", self._figures(name)))
        rows.append(
            ("ran with", ", ".join(f"{k} {v}" for k, v in self.versions.items()))
        )
        if self.phases:
            rows.append(("took", phases_text(self.phases, self.seconds)))
        rows += identity_rows(self.config, self.fingerprint)
        return rows

    def _figures(self, signature: str) -> str:
        figures = [one for one in self.parity if one.signature == signature]
        ratios = ", ".join(
            f"{one.output} {one.ratio:.2f} (limit {one.limit:g})" for one in figures
        )
        return f"{signature}, error over noise: {ratios}; {figures[0].inputs} inputs"

    def __str__(self) -> str:
        return "\n".join(f"{label:<15} {text}" for label, text in self._rows())

    def _repr_html_(self) -> str:
        return html_table(self._rows())
