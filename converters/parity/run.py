"""What the models of a verification are asked, and what they said."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from converters.mapping.pipe import Array
from converters.parity.operands import Opened
from converters.parity.original import run_source, source_label
from converters.parity.plan import Plan
from converters.version import VERSION
from converters.workers.archive import Arrays
from converters.workers.device import UnavailableError
from converters.workers.process import ProcessError

REFERENCE = "converters.workers.reference"
LIMIT_S = 24 * 3600
RELOADED = "batch3"
"""The kind of input on which a model that was saved again must give the same bits."""


@dataclass(frozen=True)
class Answers:
    """What one model said.

    Attributes:
        arrays: Results by name; read from the disk when asked for.
        digests: SHA-256 of each canonical weight in memory.
        torch: Whether it computes with PyTorch, in the very steps of the torch twin.
        original: Whether it is the original library's own model of A.
        live: Whether it is the user's own object, of which outputs and layers are
            asked, as gradients and training would change it.
    """

    arrays: Mapping[str, Array]
    digests: dict[str, str]
    torch: bool
    original: bool = False
    live: bool = False


_NOTHING = Answers({}, {}, False)


@dataclass(frozen=True, eq=False)
class Pair:
    """A candidate and what it is held against.

    Attributes:
        plan: What is asked, of A; the models of A run once for all pairs of a plan.
        a: The model that is held to be right.
        b: The candidate.
        name: Where its files lie, within the plan's folder: another for each pair.
        fault: A runtime fault that B gets after loading, to see whether it is found.
    """

    plan: Plan
    a: Opened
    b: Opened
    name: str = ""
    fault: str = ""

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.plan.folder / self.name

    def job(self, role: str, opened: Opened, model: Path, where: str) -> dict[str, Any]:
        """What one model of the pair is asked; those of A lie beside the plan."""
        home = f"{self.name}/" if role == "B" and self.name else ""
        own = {"model": str(model), "config": opened.config.to_dict()}
        files = {"folder": str(self.plan.folder), "answers": f"{home}{where}.npz"}
        return {**self.plan.case(), **own, **files}


@dataclass(frozen=True)
class Job:
    """What one model is asked.

    Attributes:
        pair: Whose it is; of A's models the first of the plan.
        label: What the subject is called; empty for the reference.
        fields: The case.
    """

    pair: Pair
    label: str
    fields: dict[str, Any]


@dataclass
class Run:
    """What all processes said.

    Attributes:
        reference: The torch twin of A: in the asked type, and exact.
        subjects: Answers by subject.
        missing: Why a subject has none.
        versions: Of every package that took part.
        flags: What sets the arithmetic.
        backends: Keras backends that ran.
        own_inputs: Number of the user's own inputs.
        files: Closes the files that the results are read from.
        jobs: What the subjects were asked.
    """

    reference: Answers = _NOTHING
    subjects: dict[str, Answers] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(
        default_factory=lambda: {
            "vit-duet": VERSION,
            "python": platform.python_version(),
            "numpy": np.__version__,
        }
    )
    flags: dict[str, str] = field(default_factory=dict)
    backends: tuple[str, ...] = ()
    own_inputs: int = 0
    files: ExitStack = field(default_factory=ExitStack)
    jobs: dict[str, Job] = field(default_factory=dict)

    def another(self, files: ExitStack) -> Run:
        """A run that has the same reference and nothing else."""
        return Run(
            self.reference,
            versions=dict(self.versions),
            flags=dict(self.flags),
            files=files,
        )


def run_original(ran: Run, plan: Plan, a: Opened) -> None:
    """Runs the original library's own model of A, or notes why it is not run."""
    label = source_label(a)
    try:
        job, told = run_source(a, plan.case(), plan.folder, LIMIT_S)
    except (UnavailableError, ProcessError) as error:
        ran.missing[label] = str(error)
        return
    note(ran, told, "original")
    said = told["cases"][0]
    arrays = ran.files.enter_context(Arrays(plan.folder / job["answers"]))
    digests = said.get("digests", {})
    ran.subjects[label] = Answers(arrays, digests, torch=False, original=True)


def note(ran: Run, told: dict[str, Any], name: str) -> None:
    """Keeps what a process said of its packages and settings."""
    ran.versions |= told.get("versions", {})
    ran.flags |= {
        f"{name}: {flag}": str(v) for flag, v in told.get("flags", {}).items()
    }
