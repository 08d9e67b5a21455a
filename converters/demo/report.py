"""What the demo found, as data and as a table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class LayerError:
    """RMS errors against the float64 torch twin, relative to the RMS of its values.

    Attributes:
        name: Name of the intermediate result.
        keras: Error of the Keras twin.
        torch: Error of the torch twin in float32: the noise.
    """

    name: str
    keras: float
    torch: float


@dataclass(frozen=True, slots=True)
class CaseReport:
    """One model in one mode.

    Attributes:
        task: Which model.
        mode: `"classes"` (logits) or `"features"` (tokens).
        inputs: Size of the test split, all of which was compared.
        bar: Least accuracy, in the mode that has one.
        torch_accuracy: Share of right predictions of the torch twin.
        keras_accuracy: Share of right predictions of the Keras twin.
        same: Number of inputs with the same prediction from both.
        ratio: RMS error over the noise; at most 2.
        max_ratio: Largest error over the reference's largest; at most 4 on tokens.
        max_difference: Largest difference of the outputs.
        tensors: Number of tensors in the canonical file.
        identical: How many came back from the `.keras` file bit by bit.
        load_seconds: Time to load the `.keras` file in the fresh process.
        layers: Errors of every intermediate result.
        failures: Laws that do not hold; empty when all is well.
    """

    task: str
    mode: str
    inputs: int
    bar: float | None
    torch_accuracy: float
    keras_accuracy: float
    same: int
    ratio: float
    max_ratio: float
    max_difference: float
    tensors: int
    identical: int
    load_seconds: float
    layers: tuple[LayerError, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DemoReport:
    """All cases of one run.

    Attributes:
        cases: The cases, in the order of the table.
        backend: Keras' backend.
        keras: Keras' version.
        torch: PyTorch's version.
        quick: Whether training was cut short and the accuracy bars lowered.
        seconds: Time of the whole run.
    """

    cases: tuple[CaseReport, ...]
    backend: str
    keras: str
    torch: str
    quick: bool
    seconds: float

    @property
    def failures(self) -> tuple[str, ...]:
        """Every law that does not hold, with the case."""
        return tuple(
            f"{case.task}, {case.mode}: {failure}"
            for case in self.cases
            for failure in case.failures
        )

    @property
    def ok(self) -> bool:
        """Whether every law holds."""
        return bool(self.cases) and not self.failures

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types, and `ok`."""
        return {"ok": self.ok, **asdict(self)}

    def to_json(self) -> str:
        """All fields as JSON."""
        return json.dumps(self.to_dict(), indent=1)


def percent(share: float) -> str:
    """97.6 %."""
    return f"{100 * share:.1f} %"


def table(report: DemoReport, *, plain: bool) -> Table:
    """The cases as one table of at most 80 columns.

    Args:
        report: What was found.
        plain: Without lines and colours, for files and pipes.
    """
    from rich import box
    from rich.table import Table

    lines = None if plain else box.SIMPLE_HEAD
    found = Table(
        box=lines,
        pad_edge=False,
        collapse_padding=not plain,
        header_style="" if plain else "bold",
    )
    found.add_column("model\nmode", no_wrap=True)
    for header in (
        "accuracy\ntorch",
        "\nKeras",
        "same\npredicted",
        "error/\nnoise",
        "largest\ndifference",
        "bits\nback",
    ):
        found.add_column(header, justify="right")
    for case in report.cases:
        found.add_row(
            f"{case.task}, {case.mode}",
            percent(case.torch_accuracy),
            percent(case.keras_accuracy),
            f"{case.same}/{case.inputs}",
            f"{case.ratio:.2f}",
            f"{case.max_difference:.1e}",
            f"{case.identical}/{case.tensors}",
            style="" if plain or not case.failures else "red",
        )
    return found
