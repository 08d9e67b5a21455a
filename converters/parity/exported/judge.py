"""Judges what an exported or served model gave, and what it says of its weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from converters.artifacts.meaning import probabilities, probability
from converters.judging.criteria import Criteria
from converters.judging.rms import MAX_LIMIT, RMS_LIMIT, compare_rms
from converters.mapping.pipe import Array
from converters.parity.diagnose import of_config
from converters.parity.exported.operand import Exported
from converters.parity.exported.runner import PROBABILITIES
from converters.parity.findings import Findings, not_checked
from converters.parity.identity import statement_checks
from converters.parity.judge import Judge
from converters.parity.operands import Opened
from converters.parity.options import Options
from converters.parity.plan import Plan
from converters.parity.record import LEVELS, Check
from converters.parity.run import Run
from converters.parity.weights import config_checks, config_rows
from converters.runtimes.rounding import rounding_limit
from converters.workers.reference import EXACT
from vit_config import ViTConfig

FEW_LIMIT = 16.0
"""Of outputs of too few numbers, whose noise is of chance size; mistakes make hundreds.

Of pictures, too: preprocessing in another framework rounds, as well.
"""

ALIKE = ("noise", "structured", "batch1", "batch3")
"""Inputs like those that models are made for: the only ones that few are judged on."""

PROBABILITY_LIMIT = 2e-6
"""Largest error of a probability, about 16 steps of float32 at 1."""


def compare_stated(
    found: Findings, a: Opened, b: Exported, level: str, criteria: Criteria
) -> None:
    """What B says of its weights and config, against A's."""
    words, status = "cannot be read, and B states no fingerprint of them", "reported"
    stated = b.operand.fingerprint
    if stated == a.operand.fingerprint:
        words = "cannot be read; B states A's fingerprint, which is no proof"
    elif stated:
        words = f"B states the fingerprint {stated[:16]} of other weights"
        status = "reported" if criteria.weights == "rounded" else "failed"
    if level == "weights" and status == "reported":
        status = "not checked"
    found.checks.append(
        Check.model_validate(
            {
                "level": "weights",
                "name": "tensors",
                "subject": "B",
                "meaning": "weights" if status != "reported" else None,
                "status": status,
                "message": words,
            }
        )
    )
    if b.config is None:
        found.checks.append(
            Check(
                level="config",
                name="architecture",
                subject="B",
                status="reported",
                message="not stated by B",
            )
        )
        return
    rows = config_rows(a.config, b.config)
    found.add("config", *rows)
    found.checks += config_checks(rows, a.config, b.config)
    found.checks += statement_checks(a.config, b.config)
    found.add("divergences", *of_config(rows))


def judge_exported(
    found: Findings, plan: Plan, options: Options, a: Opened, b: Exported, ran: Run
) -> None:
    """All checks of B's outputs; what was asked for beyond them is not checked."""
    for level in LEVELS[2 : LEVELS.index(options.level) + 1]:
        reason = "exported and served models give their outputs and nothing else"
        found.checks.append(not_checked(level, b.label, reason))
    answers = ran.subjects.get(b.label)
    if answers is None:
        return
    judge = Judge(
        subject=b.label,
        config=a.config,
        criteria=own_criteria(options.criteria, b, a.config),
        given=answers.arrays,
        reference=ran.reference.arrays,
        start=a.found.source.read,
    )
    found.checks += [_few(check) for check in judge.outputs(plan.kinds)]
    found.add("histograms", *judge.histograms())
    scatter = judge.scatter()
    if scatter is not None:
        found.add("scatters", scatter)
    found.checks += _bytes_checks(judge)
    found.checks += _probability_checks(judge, b.config or a.config)


def own_criteria(asked: Criteria, b: Exported, config: ViTConfig) -> Criteria:
    """Those asked for; the built-in ones as B's runtime rounds."""
    limit = rounding_limit(b.format, config)
    times = limit / RMS_LIMIT
    usual = {"rms_ratio": RMS_LIMIT, "max_ratio": MAX_LIMIT}
    given = asked.model_fields_set  # who asks for the usual one by name gets it
    wider = {key: v * times for key, v in usual.items() if key not in given}
    return asked.model_copy(update=wider)


def _few(check: Check) -> Check:
    """Too few numbers for the rule are judged all the same: nothing else would be.

    Of other operands a head is asked alone, of an exported model it cannot be.
    """
    if check.status != "reported" or check.inputs not in ALIKE or check.ratio is None:
        return check
    passed = check.ratio <= FEW_LIMIT
    text = f"RMS error {check.ratio:.3g} times the noise, at most {FEW_LIMIT:g}"
    return check.model_copy(
        update={
            "status": "passed" if passed else "failed",
            "limit": FEW_LIMIT,
            "message": "" if passed else text,
        }
    )


def _bytes_checks(judge: Judge) -> Iterator[Check]:
    """Raw inputs that B prepared, against what the torch twins make of them.

    The reference is fed by `torch_vit.Preprocess`.
    """
    kind = "PNG" if judge.config.spatial_dims == 2 else "raw voxels"
    for key in judge.given:
        start, _, rest = key.partition(":")
        if start != "bytes":
            continue
        name, _, part = rest.partition(":")
        given, reference = judge.given[key], judge.reference[key]
        ratio, apart = math.inf, math.inf
        if given.shape == reference.shape:
            exact = judge.reference[f"{EXACT}{key}"]
            compared = compare_rms(given, reference, exact)
            ratio, apart = compared.ratio, compared.max_difference
        passed = ratio <= FEW_LIMIT
        yield Check(
            level="logits",
            name=f"{judge.name_of(part)} of {kind}",
            inputs=f"raw, {name}",
            subject=judge.subject,
            meaning="twins",
            status="passed" if passed else "failed",
            message=""
            if passed
            else f"error {ratio:.3g} times the noise: reading or preprocessing inside "
            "is not what the config's data says",
            count=len(given),
            ratio=ratio,
            limit=FEW_LIMIT,
            max_difference=apart,
        )


def _probability_checks(judge: Judge, config: ViTConfig) -> Iterator[Check]:
    """B's probabilities, against the softmax or sigmoid of its own outputs."""
    key = f"set:noise:{PROBABILITIES}"
    how, _ = probability(config)
    if key not in judge.given or not how:
        return
    given = judge.given[key]
    exact: Array = probabilities(judge.given["set:noise:outputs"], how)
    apart = math.inf
    with suppress(ValueError):
        apart = float(np.abs(given - exact).max())
    passed = apart <= PROBABILITY_LIMIT
    yield Check(
        level="logits",
        name=f"probabilities, as {how} of {judge.name_of('outputs')}",
        inputs="noise",
        subject=judge.subject,
        status="passed" if passed else "failed",
        message="" if passed else f"{apart:.2g} off, at most {PROBABILITY_LIMIT:g}",
        count=len(given),
        max_difference=apart,
    )
