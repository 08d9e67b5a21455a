"""The verification record: everything that `verify` found, as data.

Written as JSON and read back strictly. It identifies artifacts by the fingerprint of
their weights and the hash of their architecture, and holds neither paths nor names of
files, hosts or people, nor pixels: it can be shown to anybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from converters.errors import refusal
from vit_config import Statement
from vit_config.errors import expected, place

SCHEMA_VERSION = 1

Level = Literal["weights", "logits", "layers", "gradients", "training"]
LEVELS: tuple[Level, ...] = ("weights", "logits", "layers", "gradients", "training")
"""What can be asked for; each includes those before it."""

Status = Literal["passed", "failed", "not checked", "reported"]
Verdict = Literal["passed", "failed", "incomplete"]
Meaning = Literal["weights", "reload", "twins", "source"]

LIVE = "live object"
"""What a subject is called that is the user's own object."""

MEANINGS: dict[Meaning, str] = {
    "weights": "the same bits in every weight",
    "reload": "the same bits in the outputs after saving and loading in a new process",
    "twins": "the same function in both frameworks, up to float rounding",
    "source": "the same function as the original library's own model",
}
"""The four meanings of "identical", in words."""


class Strict(BaseModel):
    """Base of all parts: frozen, no unknown fields, NaN and infinity kept in JSON."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="constants", strict=False
    )


class Operand(Strict):
    """One of the two models.

    Attributes:
        role: `"A"`, the one that is held to be right, or `"B"`.
        format: Of its file: `"safetensors"`, `"keras"`, `"torch"`, ...; `"module"` for
            a live model.
        dialect: Whose tensor names it has.
        fingerprint: SHA-256 over its canonical weights.
        architecture: SHA-256 of its config without data, labels and source.
        model: SHA-256 over both, see `converters.mapping.pipe.model_fingerprint`.
        about: Its architecture in words, by part; empty if it states no config.
        fields: The same as fields of the config.
        stated: What was stated by hand of it, and is in nothing of its source.
        tensors: Number of its tensors.
        parameters: Number of its scalars.
        dtype: Type of its weights.
        ran: Of a live model, what was run: the object, or copies of it; else empty.
    """

    role: Literal["A", "B"]
    format: str
    dialect: str
    fingerprint: str
    architecture: str
    model: str = ""
    about: dict[str, str] = {}
    fields: dict[str, Any] = {}
    stated: tuple[Statement, ...] = ()
    tensors: int
    parameters: int
    dtype: str
    ran: str = ""


class Setting(Strict):
    """What was asked for, and under which circumstances.

    Attributes:
        level: How far to go.
        device: `"cpu"` or `"cuda"`.
        dtype: Type computed in.
        backends: Keras backends asked for.
        against_source: Whether the original library's model ran too.
        seed: Of all noise.
        inputs: Number of the user's own inputs.
        versions: Of every package that took part, by name.
        flags: What sets the arithmetic: TF32, oneDNN, determinism, threads ...
        criteria: The acceptance limits.
        criteria_hash: SHA-256 of the file they were read from, before anything ran;
            empty for the limits built in.
    """

    level: Level
    device: str
    dtype: str
    backends: tuple[str, ...]
    against_source: bool
    seed: int
    inputs: int
    versions: dict[str, str]
    flags: dict[str, str]
    criteria: dict[str, Any]
    criteria_hash: str


class Check(Strict):
    """One thing that was looked at.

    Attributes:
        level: What it belongs to: a level, or `"config"`, `"reload"`, `"cases"`;
            `"record"` where an earlier record is checked.
        name: What was compared: `"tokens"`, `"logits"`, `"gradient of the input"` ...
        inputs: On which kind of input; empty where there is none.
        subject: What was held against the reference: `"B, Keras on tensorflow"`.
        meaning: Which meaning of "identical" it speaks of.
        status: `"reported"` figures are not judged.
        message: What is wrong, or why it was not checked; one sentence.
        count: Number of inputs.
        ratio: RMS error over the noise of the reference, the figure that is judged.
        limit: Its limit.
        max_ratio: The same of the largest errors.
        error: RMS error relative to the RMS of the exact values.
        noise: The noise, relative likewise.
        max_difference: Largest difference from the reference, absolute.
        same_bits: Whether all bits agree with the reference's.
        ulps: Distance from the reference in units in the last place: `p50`, `p99`,
            `max`.
        kl: Kullback-Leibler divergence of the softmax, the largest, in nats.
        top1: Share of inputs with the same largest logit.
        top5: Share of inputs with the same set of five largest.
    """

    level: Level | Literal["config", "reload", "cases", "record"]
    name: str
    inputs: str = ""
    subject: str = ""
    meaning: Meaning | None = None
    status: Status
    message: str = ""
    count: int | None = None
    ratio: float | None = None
    limit: float | None = None
    max_ratio: float | None = None
    error: float | None = None
    noise: float | None = None
    max_difference: float | None = None
    same_bits: bool | None = None
    ulps: dict[str, float] | None = None
    kl: float | None = None
    top1: float | None = None
    top5: float | None = None


class TensorRow(Strict):
    """One weight of both.

    Attributes:
        name: Its canonical name.
        shape: In the canonical layout; of A, or of B where A has none.
        dtype_a: Type in A; empty if A has none of that name.
        dtype_b: Type in B; empty likewise.
        sha256_a: Of A's bytes; empty likewise.
        sha256_b: Of B's bytes; empty likewise.
        max_difference: Largest difference, where both have it and the bits differ.
        rms_difference: RMS of the differences relative to A's RMS, likewise.
        differing: How many scalars differ, likewise.
    """

    name: str
    shape: tuple[int, ...]
    dtype_a: str = ""
    dtype_b: str = ""
    sha256_a: str = ""
    sha256_b: str = ""
    max_difference: float | None = None
    rms_difference: float | None = None
    differing: int | None = None

    @property
    def equal(self) -> bool:
        """Whether type and bits agree."""
        same = self.dtype_a == self.dtype_b and self.sha256_a == self.sha256_b
        return bool(self.sha256_a) and same


class ConfigRow(Strict):
    """One field of the configs that differs.

    Attributes:
        section: `"architecture"`, `"data"`, `"labels"` or `"source"`.
        field: Its name: `norm_eps`, `data.mean`.
        a: Its value in A, as JSON text; of labels and source only a hash.
        b: Its value in B, likewise.
    """

    section: Literal["architecture", "data", "labels", "source"]
    field: str
    a: str
    b: str


class LayerRow(Strict):
    """One intermediate result of one subject.

    Attributes:
        subject: As in `Check`.
        inputs: On which kind of input.
        name: Of the tap: `blocks.3.attn.qkv`.
        mode: `"cumulative"`: from the input on; `"forced"`: this step alone, fed with
            what the torch twin feeds it.
        ratio: RMS error over the noise.
        error: RMS error relative to the RMS of the exact values.
        noise: The noise, relative likewise.
        ulps: `p50`, `p99`, `max` against the reference.
        sqnr_db: Signal to noise ratio, 20 log10(1 / error); None where exact.
        failed: Whether it is over its limit.
    """

    subject: str
    inputs: str
    name: str
    mode: Literal["cumulative", "forced"]
    ratio: float
    error: float
    noise: float
    ulps: dict[str, float]
    sqnr_db: float | None = None
    failed: bool = False


class Divergence(Strict):
    """Where a difference begins, and what most likely explains it.

    Attributes:
        subject: As in `Check`; empty for the files themselves.
        tap: The first step that is wrong; empty if none was looked at.
        index: Place of the largest error in that tensor.
        tensors: Weights that most likely explain it.
        fields: Fields of the config that most likely explain it.
        explanation: What most likely is wrong, in one sentence that names neither the
            subject nor the tap.
    """

    subject: str = ""
    tap: str = ""
    index: tuple[int, ...] = ()
    tensors: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    explanation: str


class GradientRow(Strict):
    """The gradient of one weight, or of the input.

    Attributes:
        subject: As in `Check`.
        name: Canonical name of the weight; `"input"` for the input.
        ratio: RMS error over the noise.
        error: RMS error relative to the RMS of the exact values.
        noise: The noise, relative likewise.
    """

    subject: str
    name: str
    ratio: float
    error: float
    noise: float


class Curve(Strict):
    """Training from the same weights on the same batches.

    Attributes:
        subject: As in `Check`.
        optimizer: `"sgd"` or `"adamw"`.
        loss: Before every step, and after the last.
        loss_reference: The torch twin's in the same type.
        loss_exact: The torch twin's in float64.
        drift: RMS difference of the parameters from the exact ones after all steps,
            relative to how far they moved.
        drift_reference: The same of the reference.
    """

    subject: str
    optimizer: str
    loss: tuple[float, ...]
    loss_reference: tuple[float, ...]
    loss_exact: tuple[float, ...]
    drift: float
    drift_reference: float


class Histogram(Strict):
    """How many numbers are that many units in the last place from the reference.

    Attributes:
        subject: As in `Check`.
        name: Of the output: `"tokens"`.
        edges: Borders of the bins; bin i holds edges[i] <= ulps < edges[i + 1].
        counts: Numbers in each bin.
    """

    subject: str
    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Scatter(Strict):
    """Some numbers of both, on noise; never on the user's inputs.

    Attributes:
        subject: As in `Check`.
        name: Of the output: `"logits"`.
        exact: What the float64 torch twin gives.
        given: What the subject gives.
    """

    subject: str
    name: str
    exact: tuple[float, ...]
    given: tuple[float, ...]


class CaseRow(Strict):
    """One of the user's cases.

    Attributes:
        case: SHA-256 of the file's bytes.
        label: Its label, as an index or 0/1; None if the list has none.
        decision_a: Decision of the reference.
        decision_b: Decision of the subject.
        margin: Distance of the reference's score from the border of the decision.
    """

    case: str
    label: int | None = None
    decision_a: str
    decision_b: str
    margin: float


class CaseSummary(Strict):
    """Decisions on a user's own list.

    Attributes:
        subject: As in `Check`.
        count: Number of cases.
        changed: How many decisions changed.
        upper_bound: Exact one-sided upper bound of their share (Clopper and Pearson).
        confidence: Of that bound.
        threshold: Over which a probability is a yes; None for the largest logit.
        correct_a: Share of the reference's decisions that are the label.
        correct_b: Share of the subject's.
        rows: All cases.
    """

    subject: str
    count: int
    changed: int
    upper_bound: float
    confidence: float
    threshold: float | None = None
    correct_a: float | None = None
    correct_b: float | None = None
    rows: tuple[CaseRow, ...] = ()


class ParityReport(Strict):
    """What was asked, what was found, and the verdict.

    Attributes:
        schema_version: Of this form.
        producer: Name and version of what wrote it.
        verdict: `"passed"` only if all that was asked for was run and passed;
            `"incomplete"` if nothing failed but something was not checked.
        sentence: The verdict in one sentence.
        a: The reference.
        b: The candidate.
        setting: What was asked for.
        checks: Everything looked at.
        tensors: All weights.
        config: Fields that differ.
        layers: Intermediate results.
        gradients: Gradients.
        curves: Training.
        divergences: Where differences begin.
        histograms: Of distances in units in the last place.
        scatters: Of logits on noise.
        cases: Decisions on the user's list.
        seconds: How long it took.
        phases: Seconds of each part of the work, by its name, in order.
    """

    schema_version: int = SCHEMA_VERSION
    producer: str
    verdict: Verdict
    sentence: str
    a: Operand
    b: Operand
    setting: Setting
    checks: tuple[Check, ...]
    tensors: tuple[TensorRow, ...] = ()
    config: tuple[ConfigRow, ...] = ()
    layers: tuple[LayerRow, ...] = ()
    gradients: tuple[GradientRow, ...] = ()
    curves: tuple[Curve, ...] = ()
    divergences: tuple[Divergence, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    scatters: tuple[Scatter, ...] = ()
    cases: tuple[CaseSummary, ...] = ()
    seconds: float = 0.0
    phases: dict[str, float] = {}

    @property
    def passed(self) -> bool:
        """Whether all that was asked for was run and passed."""
        return self.verdict == "passed"

    @property
    def not_checked(self) -> tuple[Check, ...]:
        """What was asked for and could not be run."""
        return tuple(check for check in self.checks if check.status == "not checked")

    @property
    def failed(self) -> tuple[Check, ...]:
        """What was run and did not pass."""
        return tuple(check for check in self.checks if check.status == "failed")

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """The record, two spaces deep."""
        return self.model_dump_json(indent=2, exclude_defaults=False)

    @classmethod
    def from_json(
        cls, text: str | bytes, file: Path | str = "the record"
    ) -> ParityReport:
        """Reads a record.

        Args:
            text: The JSON.
            file: Where it is from, for the message.

        Raises:
            ConversionError: If it is none, or of a newer version.
        """
        try:
            found = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where, kind = place(first["loc"]), first["type"]
            if kind == "json_invalid":
                text = "it is no JSON"
            elif kind == "missing":
                text = f"{where} is not there"
            elif kind == "extra_forbidden":
                text = f"a record has no {where}"
            else:
                text = f"{where or 'the file'}: expected {expected(first)}"
            raise refusal(
                f"no verification record: {text}",
                file=file,
                hint="Records are written by vit-duet verify --json.",
            ) from None
        if found.schema_version > SCHEMA_VERSION:
            raise refusal(
                f"a record of version {found.schema_version}; this version of vit-duet "
                f"reads up to {SCHEMA_VERSION}",
                file=file,
            )
        return found


def verdict_of(checks: Iterable[Check]) -> Verdict:
    """The verdict on a number of checks; on none it is `"incomplete"`."""
    found = {check.status for check in checks}
    if "failed" in found:
        return "failed"
    if "not checked" in found or "passed" not in found:
        return "incomplete"
    return "passed"
