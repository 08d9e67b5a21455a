"""What a conversion did, as data and as text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from converters.checks.architecture import (
    Rows,
    identity_facts,
    identity_rows,
    model_rows,
)
from converters.checks.audit import preprocessing, takes
from converters.errors import printable
from converters.files.contents import OtherContents
from converters.reports.html_table import html_table
from converters.reports.phases import WRITING, phases_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from converters.conversion.outputs import OutputCheck
    from converters.files.base import Raw
    from vit_config import ViTConfig

Verify = Literal["weights", "logits", "none"]
"""What is proved of a written file, see `converters.convert`."""


def listed(names: Sequence[str]) -> str:
    """Some names, and how many there are."""
    more = f" and {len(names) - 5} more" if len(names) > 6 else ""
    return ", ".join(map(printable, names[:5] if more else names)) + more


@dataclass(frozen=True, slots=True)
class StepEffect:
    """What one named step did.

    Attributes:
        step: Its text, as in `source.steps`.
        notes: What to say of it, one sentence each.
        drawn: Canonical tensors that were drawn at random.
        dropped: Canonical tensors that it left out or drew anew.
        rounding: Largest relative change of a value, the tensor that has it, and how
            many became zero; empty where nothing was rounded.
    """

    step: str
    notes: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    rounding: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types."""
        return {
            "step": self.step,
            "notes": list(self.notes),
            "drawn": list(self.drawn),
            "dropped": list(self.dropped),
            "rounding": dict(self.rounding),
        }


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What was converted, and what was checked about the written file.

    Attributes:
        source: The file that was read.
        target: The file that was written.
        source_format: `"safetensors"`, `"keras"` or `"weights.h5"`, ...
        target_format: The same for the written file.
        config: Config of the model.
        dtype: Data type of all weights.
        tensors: Number of tensors.
        parameters: Number of scalars in them.
        bytes_read: Size of the weights in the source.
        bytes_written: Size of the written file.
        proved: Tensors of which the written file, read again and mapped back, gave
            the bits of the source: all of them, or the conversion fails; 0 if it was
            not asked for.
        steps: Named one-way steps that were asked for, for example a cast.
        fingerprint: SHA-256 over the canonical weights, see `converters.mapping.pipe`.
        seconds: Time it took.
        phases: Seconds of each part of the work, by its name, in order.
        source_dialect: How the tensors of the source are named.
        target_dialect: The same for the written file, if it is foreign.
        dropped: Tensors of the source that a written rule or a step left out, with the
            reason.
        computed: Canonical tensors that are in no file of the source's library, which
            computes them: made here, each with the rule.
        verify: What was asked to be proved.
        outputs: How near the Keras model's outputs are, if that was asked for.
        effects: What each step did that changed the weights.
        files: What a folder that was written holds.
        remarks: What was odd about the source and could do no harm, one line each.
        raw: What a written Keras model takes that has its preprocessing inside; None:
            what is prepared elsewhere.
        others: What the source holds beside the weights.
    """

    source: Path
    target: Path
    source_format: str
    target_format: str
    config: ViTConfig
    dtype: str
    tensors: int
    parameters: int
    bytes_read: int
    bytes_written: int
    proved: int
    steps: tuple[str, ...]
    fingerprint: str
    seconds: float
    phases: Mapping[str, float] = field(default_factory=dict)
    source_dialect: str = ""
    target_dialect: str = ""
    dropped: Mapping[str, str] = field(default_factory=dict)
    computed: Mapping[str, str] = field(default_factory=dict)
    verify: Verify = "weights"
    outputs: OutputCheck | None = None
    effects: tuple[StepEffect, ...] = ()
    files: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    raw: Raw | None = None
    others: OtherContents = field(default_factory=OtherContents)

    @property
    def ok(self) -> bool:
        """Whether all that was asked for was proved of the written file."""
        if self.verify == "none":
            return True
        compared = self.verify != "logits" or self.outputs is not None
        return compared and self.proved == self.tensors

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types; of the paths only the file names."""
        return {
            "ok": self.ok,
            "source": self.source.name,
            "target": self.target.name,
            "source_format": self.source_format,
            "target_format": self.target_format,
            "config": self.config.to_dict(),
            **identity_facts(self.config, self.fingerprint),
            "dtype": self.dtype,
            "tensors": self.tensors,
            "parameters": self.parameters,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "proved": self.proved,
            "steps": list(self.steps),
            "seconds": round(self.seconds, 3),
            "phases": {name: round(s, 3) for name, s in self.phases.items()},
            "source_dialect": self.source_dialect,
            "target_dialect": self.target_dialect,
            "dropped": dict(self.dropped),
            "computed": dict(self.computed),
            "verify": self.verify,
            "outputs": self.outputs.to_dict() if self.outputs else None,
            "effects": [effect.to_dict() for effect in self.effects],
            "files": list(self.files),
            "remarks": list(self.remarks),
            "with_preprocessing": self.raw is not None,
            **self.others.to_dict(),
        }

    def to_json(self) -> str:
        """All fields as one line of JSON."""
        return json.dumps(self.to_dict())

    def _step_rows(self) -> list[tuple[str, str]]:
        notes = {effect.step: effect.notes for effect in self.effects}
        rows = []
        for step in self.steps:
            rows.append(("step", printable(step, 200)))
            rows += [("", printable(note, 200)) for note in notes.get(step, ())]
        return rows

    def _rows(self) -> Rows:
        theirs = [f", {self.source_dialect}" if self.source_dialect else ""]
        theirs += [f", {self.target_dialect}" if self.target_dialect else ""]
        rows = [
            (
                "source",
                f"{printable(self.source.name)} ({self.source_format}{theirs[0]})",
            ),
            (
                "target",
                f"{printable(self.target.name)} ({self.target_format}{theirs[1]})",
            ),
            *(("remark", printable(line, 300)) for line in self.remarks),
            *model_rows(self.config),
            ("weights", f"{self.tensors} tensors, {self.parameters:,} x {self.dtype}"),
        ]
        if self.raw is not None:
            rows.append(("input", takes(self.config, self.raw)))
        rows += self._step_rows()
        rows += [
            ("computed", f"{name}, {rule}") for name, rule in self.computed.items()
        ]
        for reason in dict.fromkeys(self.dropped.values()):
            if reason in self.steps:
                continue  # the step's own row says it
            count = list(self.dropped.values()).count(reason)
            plural = "s" if count != 1 else ""
            rows.append(("dropped", f"{count} tensor{plural}: {reason}"))
        if self.files:
            rows.append(("files", listed(self.files)))
        rows += [("written", self._written()), ("proved", self._proved())]
        if self.outputs is not None:
            rows.append(("outputs", str(self.outputs)))
        if self.phases:
            rows.append(("took", phases_text(self.phases, self.seconds)))
        rows += self.others.rows(self.config.num_classes, self.config.labels)
        rows.append(("data", preprocessing(self.config)))
        return rows + identity_rows(self.config, self.fingerprint)

    def _written(self) -> str:
        megabytes = self.bytes_written / 1e6
        seconds = self.phases.get(WRITING)
        if not seconds:
            return f"{megabytes:,.1f} MB"
        speed = megabytes / seconds
        return f"{megabytes:,.1f} MB in {seconds:.2g} s, {speed:,.0f} MB/s"

    def _proved(self) -> str:
        if self.verify == "none":
            return "nothing: the file was not read again, as asked"
        return f"{self.proved} of {self.tensors} tensors bit-identical"

    def __str__(self) -> str:
        return "\n".join(f"{label:<12} {text}" for label, text in self._rows())

    def _repr_html_(self) -> str:
        return html_table(self._rows())
