"""All that is found out about one subject of a verification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from converters.parity.answers import FAINT, FAINT_KIND
from converters.parity.archive import as_laid
from converters.parity.blame import blame, explained, part_of
from converters.parity.judge import Judge
from converters.parity.operands import Opened
from converters.parity.options import Options
from converters.parity.plan import Plan
from converters.parity.record import Check, Divergence, LayerRow
from converters.parity.run import Answers, Run
from converters.parity.weights import memory_check


@dataclass
class Findings:
    """What has been found so far.

    Attributes:
        checks: Verdicts.
        parts: Rows of the record by its field.
        pictures: Inputs with attention maps, which are in no record.
    """

    checks: list[Check] = field(default_factory=list)
    parts: dict[str, list[Any]] = field(default_factory=dict)
    pictures: list[Any] = field(default_factory=list)

    def add(self, part: str, *rows: Any) -> None:
        """Keeps rows of one kind."""
        self.parts.setdefault(part, []).extend(rows)


def judge_subject(
    found: Findings,
    plan: Plan,
    options: Options,
    label: str,
    opened: Opened,
    answers: Answers,
    ran: Run,
    a: Opened,
) -> None:
    """All checks of one subject, and where a difference begins in it."""
    if plan.dtype == opened.found.dtype and not answers.original:
        memory = memory_check(label, answers.digests, opened.found.digests)
        found.checks.append(memory)
    judge = Judge(
        subject=label,
        config=a.config,
        criteria=options.criteria,
        given=answers.arrays,
        reference=ran.reference.arrays,
        start=a.found.source.read,
        bits=answers.torch and options.device == "cpu" and options.dtype == "float32",
        meaning="source" if answers.original else "twins",
    )
    found.checks += judge.outputs(plan.kinds)
    found.add("histograms", *judge.histograms())
    scatter = judge.scatter()
    if scatter is not None:
        found.add("scatters", scatter)
    rows: list[LayerRow] = []
    if not answers.original:
        rows, checks = judge.layers((*plan.layer_kinds, FAINT_KIND))
        found.add("layers", *rows)
        found.checks += checks
    first = first_wrong(rows)
    if first is not None:
        wrong = [
            name
            for name, (_, _, digest) in a.found.digests.items()
            if answers.digests.get(name) != digest
        ]
        found.add("divergences", _divergence(judge, plan, first, a, wrong))
    if plan.reaches("gradients"):
        gradients, checks = judge.gradients()
        found.add("gradients", *gradients)
        found.checks += checks
    if plan.reaches("training") and not answers.original:
        curves, checks = judge.training()
        found.add("curves", *curves)
        found.checks += checks


def first_wrong(rows: Sequence[LayerRow]) -> LayerRow | None:
    """The first step that is wrong by itself, else the first that is wrong at all.

    Of several kinds of input the one on which the step is wrong by most decides.
    """
    for mode in ("forced", "cumulative"):
        failed = [row for row in rows if row.failed and row.mode == mode]
        if failed:
            order = list(dict.fromkeys(row.name for row in rows))
            name = min((row.name for row in failed), key=order.index)
            same = [row for row in failed if row.name == name]
            return max(same, key=lambda row: row.ratio)
    return None


def _divergence(
    judge: Judge, plan: Plan, row: LayerRow, a: Opened, wrong: Sequence[str]
) -> Divergence:
    hypothesis = ""
    key = f"forced:{row.inputs}:{row.name}"
    if row.mode == "forced" and key in judge.given:
        faint = row.inputs == FAINT_KIND
        index = 0 if faint else plan.layer_kinds.index(row.inputs)
        with np.load(plan.folder / f"forced-{index}.npz") as fed:
            x = as_laid(fed, part_of(row.name, a.config).sources[0])
        x = x * np.float32(FAINT) if faint else x
        hypothesis = explained(
            row.name, a.config, judge.given[key], x, a.found.source.read
        )
    return blame(
        subject=judge.subject,
        tap=row.name,
        forced=row.mode == "forced",
        index=judge.where(row),
        config=a.config,
        wrong=wrong,
        hypothesis=hypothesis,
    )
