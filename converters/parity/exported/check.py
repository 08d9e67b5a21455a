"""Everything that is done with an exported or served B, in order."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from converters.errors import refusal
from converters.extras import MissingExtraError
from converters.parity.case_run import case_check, listed
from converters.parity.exported.cases import run_exported_cases
from converters.parity.exported.judge import compare_stated, judge_exported
from converters.parity.exported.operand import Exported, prepared_by
from converters.parity.exported.run import run_exported
from converters.parity.findings import Findings, not_checked
from converters.parity.live_object import run_live
from converters.parity.operands import Opened
from converters.parity.options import Options
from converters.parity.own_inputs import note_inputs, own_inputs
from converters.parity.plan import Plan
from converters.parity.run import Run, run_original
from converters.parity.subject import judge_subject
from converters.wording import option
from converters.workers.process import ProcessError, require

__all__ = ["check_exported", "check_options", "compare_stated"]

Progress = Callable[[str], None]


def check_options(options: Options) -> None:
    """Refuses what an artifact cannot be asked.

    Raises:
        ConversionError: If something is set that it decides itself.
    """
    for name, value, only in (
        ("backends", options.backends, ()),
        ("keras_python", options.keras_python, None),
        ("device", options.device, "cpu"),
        ("dtype", options.dtype, "float32"),
        ("include_inputs", options.include_inputs, False),
    ):
        if value != only:
            raise refusal(
                f"{option(name)} is not for exported and served models: they run by "
                "their own runtime, in float32, and only their outputs are seen",
                kind="config",
            )


def check_exported(
    found: Findings,
    options: Options,
    a: Opened,
    b: Exported,
    folder: Path,
    ran: Run,
    tell: Progress,
) -> None:
    """Runs an exported or served B, and the torch twin of A; see `exported`."""
    own = own_inputs(options.inputs, a.config, folder)
    cases = None
    if options.cases is not None:
        cases = listed(options.cases, a.config, options.threshold)
    raw = prepared_by(a, b)
    if raw is not None and b.raw == "pictures" and find_spec("PIL") is None:
        text = "pillow is not installed: pip install 'vit-duet[predict]'"
        found.checks.append(not_checked("logits", f"{b.label}, serve_bytes", text))
        raw = None
    plan = Plan(
        config=a.config,
        level="logits",
        dtype=options.dtype,
        device=options.device,
        own=own is not None,
        folder=folder,
        seed=options.seed,
        raw=raw,
    )
    tell("running the torch twin and the exported model")
    try:
        require({"torch": "torch"})
        run_exported(plan, a, b, ran)
    except (MissingExtraError, ProcessError) as error:
        found.checks.append(not_checked(options.level, "the torch twin", str(error)))
        run_live(found, ran, plan, (a,), tell)
        return
    run_live(found, ran, plan, (a,), tell)
    if options.against_source:
        tell("running the original library's model")
        run_original(ran, plan, a)
    for label, reason in ran.missing.items():
        found.checks.append(not_checked("logits", label, reason))
    tell("comparing")
    judge_exported(found, plan, options, a, b, ran)
    for label, answers in ran.subjects.items():
        if label != b.label:
            judge_subject(found, plan, options, label, a, answers, ran, a)
    if cases is not None:
        tell("running the cases")
        summaries, checks = run_exported_cases(plan, *cases, a, b)
        found.add("cases", *summaries)
        found.checks += [case_check(one, options.criteria) for one in summaries]
        found.checks += checks
    note_inputs(found, ran, own)
