"""What a model says of inputs, as data and as a table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from converters.checks.architecture import identity_facts
from converters.checks.audit import head_outputs
from converters.errors import printable

if TYPE_CHECKING:
    from rich.table import Table

    from vit_config import ViTConfig

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one input.

    Attributes:
        file: Name of the file.
        item: Which input of the file, where it is an array of several; else None.
        outputs: What the model gives: (num_classes,); without classes (head_in_dim,);
            without pooling (N, embed_dim). float32.
        probabilities: (num_classes,) in float64, or None where the model does not say
            how they are made.
        notes: What was done to the input that the user may not expect.
    """

    file: str
    item: int | None
    outputs: Array
    probabilities: Array | None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file, and which input of it."""
        return self.file if self.item is None else f"{self.file}[{self.item}]"

    def ranked(self, top_k: int) -> list[int]:
        """Indices of the largest probabilities, or outputs; equal ones in order."""
        values = self.outputs if self.probabilities is None else self.probabilities
        order = np.argsort(-values, kind="stable")
        return [int(index) for index in order[:top_k]]


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be read.

    Attributes:
        file: Its name.
        reason: What is wrong with it.
    """

    file: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """Both fields."""
        return {"file": self.file, "reason": self.reason}


@dataclass(frozen=True)
class Predictions:
    """What a model says of all inputs.

    Attributes:
        model: Name of the model's file.
        config: Its config.
        fingerprint: SHA-256 over the canonical weights.
        library: What computed, with its version.
        how: `"softmax"`, `"sigmoid"`, or empty if there are no probabilities.
        why: Why there are none.
        items: In the order of the inputs.
        failures: Files that could not be read.
        top_k: How many classes the table shows of each.
    """

    model: str
    config: ViTConfig
    fingerprint: str
    library: str
    how: str
    why: str
    items: tuple[Prediction, ...]
    failures: tuple[Failure, ...]
    top_k: int

    @property
    def ok(self) -> bool:
        """Whether every file could be read."""
        return not self.failures

    def label(self, index: int) -> str:
        """Name of a class; its index without labels."""
        labels = self.config.labels
        return labels[index] if labels else str(index)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of all of it."""
        found = []
        if self.why:
            found.append(f"no probabilities: {self.why}")
        if self.how and self.config.head_act is not None:
            text = f"the {self.how} of the {head_outputs(self.config)}"
            found.append(f"probabilities are {text}")
        if self.config.num_classes and not self.config.labels:
            found.append("the model states no labels: classes by their index")
        return tuple(found)

    @property
    def _ranks(self) -> bool:
        """Whether outputs are shown by size: those of a regression stay in order."""
        return bool(self.how) or self.config.problem_type is None

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON types; of tokens only their shape."""
        return {
            "ok": self.ok,
            "model": self.model,
            **identity_facts(self.config, self.fingerprint),
            "library": self.library,
            "probabilities": self.how or None,
            "probabilities_of": head_outputs(self.config) if self.how else None,
            "notes": list(self.notes),
            "predictions": [self._one(item) for item in self.items],
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def _one(self, item: Prediction) -> dict[str, Any]:
        found: dict[str, Any] = {"file": item.file}
        if item.item is not None:
            found["item"] = item.item
        if item.probabilities is not None:
            found["top"] = [
                {
                    "index": index,
                    "label": self.label(index) if self.config.labels else None,
                    "probability": float(item.probabilities[index]),
                }
                for index in item.ranked(self.top_k)
            ]
        if item.outputs.ndim == 1:
            found["outputs"] = item.outputs.tolist()
        else:
            found["shape"] = list(item.outputs.shape)
        found["notes"] = list(item.notes)
        return found

    def to_json(self) -> str:
        """All of it as one line of JSON."""
        return json.dumps(self.to_dict())

    def table(self) -> Table:
        """The predictions as a table for the terminal."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        table.add_column("file", overflow="fold")
        if self.config.num_classes:
            table.add_column("class", overflow="fold")
            table.add_column("probability" if self.how else "output", justify="right")
        else:
            table.add_column("output", overflow="fold")
        for item in self.items:
            name = printable(item.name, 400)
            for row in self._rows(item):
                table.add_row(Text(name), *map(Text, row))
                name = ""
        return table

    def _rows(self, item: Prediction) -> list[list[str]]:
        if not self.config.num_classes:
            return [[_described(item.outputs)]]
        shown = (
            item.ranked(self.top_k)
            if self._ranks
            else list(range(len(item.outputs)))[: self.top_k]
        )
        values, digits = item.probabilities, 4
        if values is None:
            values, digits = item.outputs, 5
        return [
            [printable(self.label(index), 200), f"{values[index]:.{digits}f}"]
            for index in shown
        ]

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int = 120, colour: bool = False) -> str:
        """The table, what to know of it, and what could not be read.

        Args:
            width: Characters of a line of the table.
            colour: Whether the terminal takes colours.
        """
        from rich.console import Console

        console = Console(width=width, force_terminal=colour, highlight=False)
        with console.capture() as captured:
            if self.items:
                console.print(self.table())
        lines = [line.rstrip() for line in captured.get().splitlines()]
        lines += [*self.notes, *_told(self.items)]
        if self.failures:
            of = len(self.failures) + len({item.file for item in self.items})
            lines.append(f"{len(self.failures)} of {of} files could not be read:")
            lines += [f"  {printable(f.file, 400)}: {f.reason}" for f in self.failures]
        return "\n".join(lines)


def _described(values: Array) -> str:
    """A vector, or tokens, in some words."""
    shape = " x ".join(map(str, values.shape))
    first = ", ".join(f"{value:.4f}" for value in values.reshape(-1)[:3])
    return f"{shape} numbers: {first}, ..."


def _told(items: tuple[Prediction, ...]) -> list[str]:
    """Every note once, with whom it is true of."""
    found: dict[str, list[str]] = {}
    for item in items:
        for note in item.notes:
            found.setdefault(note, []).append(item.name)
    lines = []
    for note, names in found.items():
        shown = ", ".join(printable(name, 60) for name in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"{note}: {shown}{more}")
    return lines
