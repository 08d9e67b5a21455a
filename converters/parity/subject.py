"""All that is found out about one subject of a verification."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.mapping.pipe import Array
from converters.parity.blame import blame, part_of
from converters.parity.findings import Findings
from converters.parity.judge import Judge
from converters.parity.operands import Opened
from converters.parity.options import Options
from converters.parity.plan import Plan
from converters.parity.reasons import explained
from converters.parity.record import Divergence, LayerRow
from converters.parity.run import Answers, Run
from converters.parity.weights import memory_check
from converters.workers.answers import FAINT, FAINT_KIND
from converters.workers.archive import as_laid
from converters.workers.parts import INPUT
from converters.workers.raw import checks as raw_checks
from vit_config import ViTConfig


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
    found.checks += raw_checks(label, answers.arrays, ran.reference.arrays)
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
        wrong = None
        if answers.digests:
            known = a.found.digests.items()
            same = answers.digests
            wrong = [name for name, (_, _, sha) in known if same.get(name) != sha]
        differing = _differing(a.config, opened.config)
        found.add("divergences", _divergence(judge, plan, first, a, wrong, differing))
    if answers.live:
        return
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


def _differing(a: ViTConfig, b: ViTConfig) -> set[str]:
    one, other = a.architecture(), b.architecture()
    return {name for name in one if one[name] != other.get(name)}


def _divergence(
    judge: Judge,
    plan: Plan,
    row: LayerRow,
    a: Opened,
    wrong: Sequence[str] | None,
    differing: set[str],
) -> Divergence:
    start = "forced" if row.mode == "forced" else "taps"
    key = f"{start}:{row.inputs}:{row.name}"
    reason = None
    if key in judge.given and (sources := _sources(judge, plan, row, a.config)):
        reason = explained(
            row.name,
            a.config,
            judge.given[key],
            sources,
            a.found.source.read,
            row.noise,
        )
    return blame(
        subject=judge.subject,
        tap=row.name,
        forced=row.mode == "forced",
        index=judge.where(row),
        config=a.config,
        wrong=wrong,
        differing=differing,
        reason=reason,
    )


def _sources(
    judge: Judge, plan: Plan, row: LayerRow, config: ViTConfig
) -> list[Array] | None:
    """What a wrong step was fed with: alone by the reference, else by its own model."""
    names = part_of(row.name, config).sources
    faint = row.inputs == FAINT_KIND
    index = 0 if faint else plan.layer_kinds.index(row.inputs)
    with np.load(plan.folder / f"forced-{index}.npz") as fed:
        if row.mode == "forced" or names == (INPUT,):
            found = [as_laid(fed, name) for name in names]
            return [x * np.float32(FAINT) for x in found] if faint else found
    keys = [f"taps:{row.inputs}:{name}" for name in names]
    if not all(key in judge.given for key in keys):
        return None
    return [judge.given[key] for key in keys]
