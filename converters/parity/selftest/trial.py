"""Does faults to a model and looks at what `verify` says of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from converters.errors import ConversionError
from converters.files import write
from converters.judging.criteria import Criteria
from converters.mapping.pipe import MemorySource
from converters.parity.faults import FAULTS, Fault, Model, base_model
from converters.parity.findings import Findings, compare_files
from converters.parity.models import Models
from converters.parity.operands import open_operand
from converters.parity.options import Options, options_of
from converters.parity.plan import Plan
from converters.parity.record import Check, Divergence
from converters.parity.run import Pair, Run
from converters.parity.selftest.common_checks import passed as of_common
from converters.parity.subject import judge_subject
from converters.parity.weights import check_geometry
from converters.sources.request import Asked

CHUNK = 32
"""Candidates in one process: their results lie on the disk until they are judged."""


@dataclass(frozen=True)
class Outcome:
    """What `verify` said of one fault, or of a pair without any.

    Attributes:
        base: The model.
        fault: Its name; empty if there is none.
        backend: Keras' backend.
        found_by: Levels at which a check failed: `"weights"`, `"logits"`, `"layers"`;
            `"refused"` if the file was not accepted.
        tensors: Weights that are blamed.
        fields: Fields that are blamed.
        right: Whether all of that is the place, and something is; None without fault.
        step: Tensors and fields that are blamed for the first wrong step.
        step_right: Whether these are the place; None if no step was wrong.
        common: Whether the common checks passed, by name; None where there are none.
        largest: Largest ratio of outputs, of steps alone, of cumulative results.
        problem: What could not be run.
    """

    base: str
    fault: str
    backend: str
    found_by: tuple[str, ...]
    tensors: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    right: bool | None = None
    step: tuple[str, ...] = ()
    step_right: bool | None = None
    common: dict[str, bool | None] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)
    problem: str = ""

    @property
    def caught(self) -> bool:
        """Whether a check failed; what could not be run found nothing."""
        return bool(self.found_by)

    @property
    def passed(self) -> bool:
        """Whether everything was run and nothing failed."""
        return not self.found_by and not self.problem

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what there is; of a fault no ratios, and no blame that is right."""
        found = {name: value for name, value in asdict(self).items() if value != ()}
        if self.right:
            found.pop("tensors", None)
            found.pop("fields", None)
        if self.step_right:
            found.pop("step", None)
        found.pop("largest")
        if not self.fault:
            found["largest"] = {k: float(f"{v:.4g}") for k, v in self.largest.items()}
        empty: tuple[Any, ...] = (None, {}, "")
        return {n: v for n, v in found.items() if n == "fault" or v not in empty}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """What `to_dict` gave."""
        lists = ("found_by", "tensors", "fields", "step")
        made = {name: tuple(fields.get(name, ())) for name in lists}
        return cls(**{**fields, **made})


def options(device: str) -> Options:
    """What is asked in a trial.

    Keras on torch has to give torch's very bits by default. Here it has not: what is
    tried are the limits that every backend is held to.
    """
    return options_of(
        level="layers",
        backends=(),
        keras_python=None,
        device=device,
        dtype="float32",
        inputs=(),
        cases=None,
        threshold=None,
        against_source=False,
        include_inputs=False,
        seed=0,
        criteria=Criteria(same_bits_on_torch=False),
        criteria_hash="",
    )


class Trial:
    """A model A, and candidates that are held against it.

    Args:
        name: Of the model.
        model: Config and weights.
        models: Runs it.
        folder: An empty folder.
        stack: Closes what is opened.
    """

    def __init__(
        self, name: str, model: Model, models: Models, folder: Path, stack: ExitStack
    ) -> None:
        self.name = name
        self.model = model
        self.options = options(models.device)
        self._models = models
        self._folder = folder
        self._clean = _written(model, folder / "clean.keras")
        path = folder / "source.safetensors"
        write(path, "safetensors", MemorySource(model.tensors), model.config)
        self.a = open_operand("A", path, Asked(), folder, stack)
        self.plan = Plan(
            config=model.config,
            level=self.options.level,
            dtype="float32",
            device=models.device,
            own=False,
            folder=folder,
            seed=self.options.seed,
        )

    def outcomes(self, faults: Sequence[Fault | None]) -> Iterator[Outcome]:
        """What `verify` says of each; None is the model as it should be."""
        for start in range(0, len(faults), CHUNK):
            with ExitStack() as files:
                yield from self._chunk(start, faults[start : start + CHUNK], files)

    def _chunk(
        self, start: int, faults: Sequence[Fault | None], files: ExitStack
    ) -> Iterator[Outcome]:
        pairs: dict[Pair, Fault | None] = {}
        for i, fault in enumerate(faults, start):
            try:
                pairs[self.pair(fault, str(i), files)] = fault
            except ConversionError:
                backends = self._models.backends
                for backend in backends:
                    yield Outcome(self.name, _name(fault), backend, ("refused",))
        runs = self._models.run(list(pairs), files)
        for (pair, fault), run in zip(pairs.items(), runs, strict=True):
            yield from self.judged(pair, fault, run)
        for pair in pairs:
            shutil.rmtree(pair.folder)

    def pair(self, fault: Fault | None, name: str, files: ExitStack) -> Pair:
        """A candidate with a fault, or without one.

        Raises:
            ConversionError: If `verify` refuses it.
        """
        home = self._folder / name
        home.mkdir()
        path = self._clean
        if fault is not None and fault.kind != "runtime":
            path = _written(fault.of(self.model), home / "candidate.keras")
        b = open_operand("B", path, Asked(), home, files)
        check_geometry(self.a.config, b.config)
        injected = fault.name if fault and fault.kind == "runtime" else ""
        return Pair(self.plan, self.a, b, name, injected)

    def judged(self, pair: Pair, fault: Fault | None, run: Run) -> Iterator[Outcome]:
        """What `verify` says of a pair, on each backend."""
        for backend in self._models.backends:
            label = f"B, Keras on {backend}"
            yield self._judged(pair, fault, run, backend, label)

    def _judged(
        self, pair: Pair, fault: Fault | None, run: Run, backend: str, label: str
    ) -> Outcome:
        found = Findings()
        compare_files(found, pair.a, pair.b, self.options.criteria)
        common: dict[str, bool | None] = {}
        problem = run.missing.get(label, "")
        if answers := run.subjects.get(label):
            judge_subject(
                found, pair.plan, self.options, label, pair.b, answers, run, pair.a
            )
            key = "set:noise:outputs"
            config = self.model.config
            logits = config.num_classes > 0 and config.head_act is None
            common = of_common(run.reference.arrays[key], answers.arrays[key], logits)
        blames: list[Divergence] = found.parts.get("divergences", [])
        steps = [one for one in blames if one.tap]
        tensors, fields = _blamed(blames)
        step = steps[0].tensors + steps[0].fields if steps else ()
        right = step_right = None
        if fault is not None:
            right = fault.right(tensors, fields)
            if steps:
                step_right = fault.right(steps[0].tensors, steps[0].fields)
        return Outcome(
            base=self.name,
            fault=_name(fault),
            backend=backend,
            found_by=_levels(found.checks),
            tensors=tensors,
            fields=fields,
            right=right,
            step=step,
            step_right=step_right,
            common=common,
            largest=_largest(found.checks),
            problem=problem,
        )


def _written(model: Model, path: Path) -> Path:
    write(path, "keras", MemorySource(model.tensors), model.config)
    return path


def of_base(
    base: str,
    names: Sequence[str],
    backend: str,
    folder: Path,
    tell: Callable[[str], None] = lambda text: None,
    device: str = "cpu",
) -> Iterator[Outcome]:
    """Does faults to one of `converters.parity.faults.BASES`.

    Args:
        base: Its name.
        names: Faults; an empty name is none.
        backend: Keras' backend.
        folder: An empty folder.
        tell: Called with a few words as the work goes on.
        device: `"cpu"` or `"cuda"`.
    """
    with ExitStack() as stack:
        models = Models(folder, device, (backend,), None, stack, tell, reload=False)
        trial = Trial(base, base_model(base), models, folder, stack)
        yield from trial.outcomes([FAULTS[name] if name else None for name in names])


def _name(fault: Fault | None) -> str:
    return "" if fault is None else fault.name


def _blamed(blames: Sequence[Divergence]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the record blames: the files' differences, else the first wrong step."""
    files = [one for one in blames if not one.tap]
    some = files or list(blames[:1])
    tensors = [name for one in some for name in one.tensors]
    fields = [name for one in some for name in one.fields]
    return tuple(dict.fromkeys(tensors)), tuple(dict.fromkeys(fields))


def _levels(checks: Sequence[Check]) -> tuple[str, ...]:
    found = (check.level for check in checks if check.status == "failed")
    return tuple(dict.fromkeys(found))


def _largest(checks: Sequence[Check]) -> dict[str, float]:
    """The largest judged ratio of outputs, steps alone and cumulative results."""
    found: dict[str, float] = {}
    for check in checks:
        if check.ratio is None or check.limit is None:
            continue
        name = "outputs" if check.level == "logits" else check.name
        found[name] = max(found.get(name, 0.0), check.ratio)
    return found
