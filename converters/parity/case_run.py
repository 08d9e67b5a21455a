"""Runs the user's own list of cases through the models that are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.judging.criteria import Criteria
from converters.parity.case_list import Case, Chunk, chunks, read_cases
from converters.parity.cases import Tally, in_words
from converters.parity.decisions import Rule, decision_rule
from converters.parity.operands import Opened
from converters.parity.plan import Plan
from converters.parity.record import CaseSummary, Check
from converters.parity.run import LIMIT_S, REFERENCE
from converters.workers.process import KERAS_WORKER, ProcessError, started, write_job
from vit_config import ViTConfig

FILE = "cases.npy"
"""Where all inputs are, in the folder of a plan."""


def listed(
    path: Path, config: ViTConfig, threshold: float | None
) -> tuple[Rule, tuple[Case, ...]]:
    """How decisions are taken, and the cases; read before anything runs.

    Raises:
        ConversionError: If the outputs are no decisions, or the list is wrong.
    """
    rule = decision_rule(config, threshold)
    return rule, read_cases(path, config, rule)


def run_cases(
    plan: Plan,
    rule: Rule,
    cases: tuple[Case, ...],
    a: Opened,
    b: Opened,
    backends: tuple[str, ...],
    python: Path | None,
) -> tuple[list[CaseSummary], list[Check]]:
    """Decisions of the torch twin of A, and of B wherever it runs.

    Raises:
        ConversionError: If a case cannot be read.
    """
    folder = plan.folder
    found = written(cases, a.config, folder / FILE)
    asked = _asked(plan)
    jobs = [_job(asked, a, a.canonical(folder), "cases-A")]
    if b.keras is None or not backends:
        jobs.append(_job(asked, b, b.canonical(folder), "cases-B"))
    checks: list[Check] = []
    outputs: dict[str, Any] = {}
    try:
        _ask(folder, REFERENCE, jobs, "PyTorch", "torch", plan.device, None)
    except ProcessError as error:
        return [], [missing("the torch twin", str(error))]
    reference = _outputs(folder, jobs[0])
    if len(jobs) > 1:
        outputs["B, torch twin"] = _outputs(folder, jobs[1])
    for backend in backends:
        label, title = f"B, Keras on {backend}", f"Keras ({backend})"
        job = _job(asked, b, b.for_keras(folder), f"cases-{backend}")
        try:
            _ask(folder, KERAS_WORKER, [job], title, backend, plan.device, python)
        except ProcessError as error:
            checks.append(missing(label, str(error)))
            continue
        outputs[label] = _outputs(folder, job)
    return tallied(found, rule, reference, outputs), checks


def ask_reference(plan: Plan, a: Opened) -> Any:
    """What the torch twin of A gives for the cases in `FILE`.

    Raises:
        ProcessError: If it cannot be run.
    """
    job = _job(_asked(plan), a, a.canonical(plan.folder), "cases-A")
    _ask(plan.folder, REFERENCE, [job], "PyTorch", "torch", plan.device, None)
    return _outputs(plan.folder, job)


def tallied(
    found: list[tuple[slice, Chunk]],
    rule: Rule,
    reference: Any,
    outputs: Mapping[str, Any],
) -> list[CaseSummary]:
    """Counts the decisions that differ.

    Args:
        found: The cases, as `written` gives them.
        rule: How outputs become decisions.
        reference: Outputs of A.
        outputs: Of B, by the subject that gave them.
    """
    summaries = []
    for label, values in outputs.items():
        tally = Tally(label, rule)
        for rows, chunk in found:
            tally.add(chunk, reference[rows], values[rows])
        summaries.append(tally.summary())
    return summaries


def _asked(plan: Plan) -> dict[str, Any]:
    return {
        "inputs": FILE,
        "batch": 8,
        "dtype": plan.dtype,
        "device": plan.device,
        "oracle": False,
    }


def case_check(summary: CaseSummary, criteria: Criteria) -> Check:
    """Whether few enough decisions changed."""
    bound = criteria.max_changed_bound
    over = summary.changed > criteria.max_changed
    wide = bound is not None and summary.upper_bound > bound
    limit = f", at most {criteria.max_changed}" if over else ""
    if wide:
        limit += f"; the bound may be {bound:.2%} at most"
    return Check(
        level="cases",
        name="decisions",
        inputs="cases",
        subject=summary.subject,
        meaning="twins",
        status="failed" if over or wide else "passed",
        message=in_words(summary) + limit,
        count=summary.count,
    )


def written(
    cases: tuple[Case, ...], config: ViTConfig, path: Path
) -> list[tuple[slice, Chunk]]:
    """All inputs in one file, and which rows are whose."""
    shape = (len(cases), config.in_chans, *config.img_size)
    values = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    found = list(_rows(cases, config, values))
    values.flush()
    return found


def _rows(
    cases: tuple[Case, ...], config: ViTConfig, values: Any
) -> Iterator[tuple[slice, Chunk]]:
    done = 0
    for chunk in chunks(cases, config):
        rows = slice(done, done + len(chunk.values))
        values[rows] = chunk.values
        done = rows.stop
        empty = np.empty((0, *chunk.values.shape[1:]), np.float32)
        yield rows, Chunk(empty, chunk.cases, chunk.labels, chunk.notes)


def _job(
    asked: dict[str, Any], opened: Opened, model: Path, name: str
) -> dict[str, Any]:
    own = {"model": str(model), "config": opened.config.to_dict()}
    return {**asked, **own, "answers": f"{name}.npz"}


def _ask(
    folder: Path,
    module: str,
    jobs: list[dict[str, Any]],
    title: str,
    backend: str,
    device: str,
    python: Path | None,
) -> None:
    path = write_job(folder / f"{jobs[0]['answers']}.json", jobs)
    with started(module, path, title, backend, device=device, python=python) as worker:
        worker.wait(LIMIT_S)


def _outputs(folder: Path, job: dict[str, Any]) -> Any:
    with np.load(folder / job["answers"]) as answers:
        return answers["outputs"]


def missing(subject: str, reason: str) -> Check:
    """Decisions that nobody took."""
    return Check(
        level="cases",
        name="decisions",
        subject=subject,
        status="not checked",
        message=reason,
    )
