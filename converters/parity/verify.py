"""Are these two the same model? Everything that `vit-duet verify` does, in order.

1. Both operands are opened and hashed, their configs compared.
2. The torch twin of A in float64 is the oracle, in the asked type the reference: its
   error is the noise. It runs in a fresh process; every Keras backend in another one.
3. Each subject's answers are judged against both (`converters.parity.judge`).
4. Where a difference begins is looked for, and what explains it
   (`converters.parity.diagnose`, `converters.parity.blame`).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.errors import ConversionError, named, refusal
from converters.extras import MissingExtraError
from converters.judging.criteria import read_criteria
from converters.parity.attention import pictures_of
from converters.parity.case_run import case_check, listed, run_cases
from converters.parity.exported.check import (
    check_exported,
    check_options,
    compare_stated,
)
from converters.parity.exported.operand import (
    Exported,
    check_takes,
    is_exported,
    open_exported,
)
from converters.parity.findings import Findings, compare_files, not_checked, report_of
from converters.parity.live_object import run_live, what_ran
from converters.parity.models import Models
from converters.parity.operands import Opened, open_operand
from converters.parity.options import Options, options_of
from converters.parity.own_inputs import note_inputs, own_inputs
from converters.parity.plan import Plan
from converters.parity.recheck import asked_before, read_record, recheck
from converters.parity.record import LEVELS, Check, ParityReport
from converters.parity.run import Pair, Run, run_original
from converters.parity.subject import judge_subject
from converters.parity.weights import check_geometry
from converters.reports.phases import Phases
from converters.sources.request import Asked, ConfigLike
from converters.workers.process import ProcessError, chosen_backend, require
from converters.workers.raw import states
from vit_config import ViTConfig

if TYPE_CHECKING:
    from converters.parity.page import Picture

Progress = Callable[[str], None]


@named("verification")
def verify(
    a: Any,
    b: Any,
    *,
    from_dialect: str | None = None,
    prefix: str | None = None,
    drop: str | Sequence[str] = (),
    head: str | None = None,
    base: str | os.PathLike[str] | None = None,
    config: ConfigLike | None = None,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    level: str = "logits",
    backends: Sequence[str] = (),
    keras_python: str | Path | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    inputs: Sequence[str | Path] = (),
    cases: str | Path | None = None,
    threshold: float | None = None,
    against_source: bool = False,
    criteria: str | Path | dict[str, Any] | None = None,
    seed: int = 0,
    pictures: list[Picture] | None = None,
    record: str | Path | ParityReport | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Checks whether two models are the same, and records what was checked.

    A and B are anything that `converters.convert` reads: files and folders of every
    dialect, hub ids, `.keras`, live modules of timm, transformers, torchvision and
    MONAI; and live models of both twins.

    Args:
        a: The model that is held to be right.
        b: The model that is to be the same. It may also be what `converters.export`
            wrote, or the URL of a served model, `http://host:port/v1/models/NAME`: only
            its outputs are compared then (`converters.parity.exported`).
        from_dialect: Whose names A has, if its file leaves a doubt.
        prefix: What stands before the model's names in A.
        drop: As in `convert`.
        head: As in `convert`.
        base: As in `convert`.
        config: Config of A: ours or the library's own, object, dict or JSON file.
        preset: What A's file does not say: a preset.
        changes: Single fields of A's config. All of these hold for B as well where B
            does not say it itself.
        level: `"weights"`, `"logits"`, `"layers"`, `"gradients"` or `"training"`; each
            includes those before it.
        backends: Keras backends: `"tensorflow"`, `"jax"`, `"torch"`. Without any, the
            one of KERAS_BACKEND, or that is installed, if A or B is a Keras file.
        keras_python: Python of another environment that has Keras, to run it there.
        device: `"cpu"` or `"cuda"`.
        dtype: Type to compute in: `"float32"`, `"bfloat16"` or `"float16"`.
        inputs: Pictures, volumes, arrays or folders of them, besides the noise.
        cases: A list of cases, a CSV with the header `path,label` or `path`, through
            both models: how many decisions change?
        threshold: Over which a probability is a yes in these decisions.
        against_source: Run the original library's own model of A, too: of timm,
            transformers, torchvision or MONAI, where that is installed.
        criteria: Acceptance limits: a JSON file or its fields, see
            `converters.judging.criteria.Criteria`.
        seed: Of all noise.
        pictures: A list that gets up to four of your own inputs, without any of the
            seeded ones, with the attention maps of A and B: for
            `converters.parity.page.render_html(report, pictures)`. The record has no
            pixels; a page with pictures shows them to whoever gets it.
        record: An earlier record: `level`, `backends`, `device`, `dtype`, `seed`,
            `against_source` and `criteria` are taken from it, and what is found is held
            against it.
        progress: Called with a few words as the work goes on.

    Returns:
        What was checked; `report.passed` only if all that was asked for was run and
        passed.

    Raises:
        ConversionError: If an operand cannot be read, or both cannot be compared.
        ConfigError: If a config describes no model.
        MissingExtraError: If an input needs what is not installed.
    """
    start = time.perf_counter()
    limits, digest = read_criteria(criteria)
    asked_for: dict[str, Any] = {
        "level": level,
        "backends": tuple(backends),
        "device": device,
        "dtype": dtype,
        "seed": seed,
        "against_source": against_source,
        "criteria": limits,
        "criteria_hash": digest,
    }
    if isinstance(record, str | Path):
        record = read_record(Path(record))
    if record is not None:
        asked_for |= asked_before(record)
    options = options_of(
        **asked_for,
        keras_python=None if keras_python is None else Path(keras_python),
        inputs=tuple(Path(path) for path in inputs),
        cases=None if cases is None else Path(cases),
        threshold=threshold,
        include_inputs=pictures is not None,
    )
    tell = Phases(progress)
    asked = Asked.by(from_dialect, prefix, config, preset, changes, drop, head, base)
    with (
        tempfile.TemporaryDirectory(prefix="vit-duet-") as name,
        ExitStack() as stack,
    ):
        folder = Path(name)
        tell("reading A")
        if is_exported(a):
            raise refusal(
                "A is an exported or served model, which gives outputs alone",
                kind="config",
                hint="A is the model whose weights can be read; give this one as B.",
            )
        deep = options.level in LEVELS[LEVELS.index("gradients") :]
        of_a = open_operand("A", a, asked, folder, stack, deep)
        tell("reading B")
        found, ran = Findings(), Run(files=stack)
        of_b: Opened | Exported
        if is_exported(b):
            check_options(options)
            of_b = open_exported(b)
            check_geometry(of_a.config, of_b.config or of_a.config)
            check_takes(of_a.config, of_b)
            compare_stated(found, of_a, of_b, options.level, limits)
            if options.level != "weights":
                check_exported(found, options, of_a, of_b, folder, ran, tell)
        else:
            of_b = open_operand("B", b, asked, folder, stack, deep)
            check_geometry(of_a.config, of_b.config)
            compare_files(found, of_a, of_b, limits)
            if options.level != "weights":
                ran = _models(found, options, of_a, of_b, folder, stack, tell)
        if pictures is not None:
            pictures += found.pictures
        operands = what_ran(found, options, of_a), what_ran(found, options, of_b)
        took = time.perf_counter() - start, tell.end()
        report = report_of(found, ran, options, *operands, *took)
        if record is None:
            return report
        found.checks += recheck(record, report)
        return report_of(found, ran, options, *operands, *took)


def _models(
    found: Findings,
    options: Options,
    a: Opened,
    b: Opened,
    folder: Path,
    stack: ExitStack,
    tell: Progress,
) -> Run:
    """Runs everything that can be run; the rest is listed as not checked."""
    own = own_inputs(options.inputs, a.config, folder)
    cases = None
    if options.cases is not None:
        cases = listed(options.cases, a.config, options.threshold)
    plan = Plan(
        config=a.config,
        level=options.level,
        dtype=options.dtype,
        device=options.device,
        own=own is not None,
        folder=folder,
        seed=options.seed,
        raw=_prepared_inside(a, b),
        attention=options.include_inputs,
    )
    backends = _backends(found, options, a, b)
    try:
        require({"torch": "torch"})
        models = Models(
            folder, options.device, backends, options.keras_python, stack, tell
        )
        (ran,) = models.run([Pair(plan, a, b)])
    except (MissingExtraError, ProcessError) as error:
        found.checks.append(not_checked(options.level, "the torch twin", str(error)))
        return run_live(found, Run(files=stack), plan, (a, b), tell)
    run_live(found, ran, plan, (a, b), tell)
    if options.against_source:
        tell("running the original library's model")
        run_original(ran, plan, a)
    for label, reason in ran.missing.items():
        found.checks.append(not_checked(options.level, label, reason))
    tell("comparing")
    for label, answers in ran.subjects.items():
        opened = a if label.startswith("A") else b
        judge_subject(found, plan, options, label, opened, answers, ran, a)
    said = {label: answers.arrays for label, answers in ran.subjects.items()}
    found.pictures += pictures_of(
        a.config, plan.case(), folder, ran.reference.arrays, said
    )
    if options.include_inputs and not found.pictures:
        found.checks.append(
            Check(
                level="logits",
                name="inputs with attention",
                status="reported",
                message="none shown: no B ran whose grid of patches is A's",
            )
        )
    found.checks += models.reloaded(ran)
    if cases is not None:
        tell("running the cases")
        summaries, checks = run_cases(
            plan, *cases, a, b, ran.backends, options.keras_python
        )
        found.add("cases", *summaries)
        found.checks += [case_check(one, options.criteria) for one in summaries]
        found.checks += checks
    note_inputs(found, ran, own)
    return ran


def _prepared_inside(a: Opened, b: Opened) -> ViTConfig | None:
    """Whose preprocessing models are held to that have it inside: A's if it says it."""
    if a.raw is None and b.raw is None:
        return None
    return a.config if states(a.config) else b.config


def _backends(
    found: Findings, options: Options, a: Opened, b: Opened
) -> tuple[str, ...]:
    """Keras backends to run on; those that are not installed are not checked."""
    runnable = a.keras is not None or b.keras is not None
    if not options.backends and not runnable:
        return ()
    if options.keras_python is not None:
        return options.backends or ("tensorflow",)
    usable = []
    for name in options.backends or (None,):
        try:
            usable.append(chosen_backend(name))
        except MissingExtraError as error:
            label = f"Keras on {name}" if name else "Keras"
            found.checks.append(not_checked(options.level, label, str(error)))
        except ProcessError as error:  # KERAS_BACKEND names none
            raise refusal(str(error), kind="config") from None
    return tuple(dict.fromkeys(usable))


__all__ = ["ConversionError", "ParityReport", "verify"]
