"""A live twin itself, run in this process as it is, beside a clean copy of it.

What fresh processes run is a copy of its weights and config. Here the object answers,
and so does such a copy: in the same process, type, device and settings, so that any
difference is the object's own. Its answers are judged like any subject's, too, where it
computes in the type and on the device that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from converters.mapping.pipe import Array
from converters.parity.exported.operand import Exported
from converters.parity.findings import Findings, not_checked
from converters.parity.operands import Opened
from converters.parity.options import Options
from converters.parity.plan import Plan
from converters.parity.record import LIVE, Check, Operand
from converters.parity.run import Answers, Run
from converters.sources.live import is_module
from converters.twins.live import copy_of, framework_of
from converters.workers.answers import Case, Runner
from converters.workers.archive import Archive, Arrays

COPY = "a copy of its weights and config in fresh processes"

_FROM_REFERENCE = ("forced", "taps")
"""What is asked of models only where there is a reference to hold it against."""


def what_ran(found: Findings, options: Options, opened: Opened | Exported) -> Operand:
    """What the record says of a model, with what was run if it is a live one."""
    operand = opened.operand
    if not isinstance(opened, Opened) or operand.format != "module":
        return operand
    label = f"{operand.role}, {LIVE}"
    if options.level == "weights":
        ran = "nothing; its parts were compared with those of a new model"
    elif any(c.subject == label and c.same_bits is not None for c in found.checks):
        ran = f"the {LIVE} in its own process, and {COPY}"
        if options.level in ("gradients", "training"):
            ran += "; gradients and training the copy alone"
    else:
        ran = COPY
        if options.against_source and opened.live is None and operand.role == "A":
            ran += ", and the object itself as the library's model"
    return operand.model_copy(update={"ran": ran})


def run_live(
    found: Findings,
    ran: Run,
    plan: Plan,
    models: Iterable[Opened],
    tell: Callable[[str], None],
) -> Run:
    """Runs what is live, beside a copy, and keeps its answers as a subject's.

    Args:
        found: Gets a check for every kind of input.
        ran: What fresh processes said; gets a subject for each live object that can be
            judged by that.
        plan: What is asked.
        models: A, or A and B.
        tell: Called with a few words.

    Returns:
        The run.
    """
    for opened in models:
        if opened.live is not None:
            tell(f"running the {LIVE} {opened.operand.role}")
            found.checks += _run(ran, plan, opened)
    return ran


def _run(ran: Run, plan: Plan, opened: Opened) -> list[Check]:
    label = f"{opened.operand.role}, {LIVE}"
    fields = plan.case()
    reason = _not_judged(ran, plan, opened.live)
    if reason:
        for name in _FROM_REFERENCE:
            fields.pop(name, None)
    path = plan.folder / f"live-{opened.operand.role}.npz"
    try:
        with _as_it_is(opened.live), Archive(path) as archive:
            runner = _runner(opened.live)
            case = Case(fields, plan.folder, archive, lambda: runner)
            said = case.look(runner)
            case.layers(runner)
            case.forced(runner)
            case.outputs(runner)
            case.raw(runner)
    except Exception as error:  # the user's object may do anything
        text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return [not_checked(plan.level, label, f"it cannot be run: {text}"[:300])]
    arrays = ran.files.enter_context(Arrays(path))
    with _as_it_is(opened.live):
        checks = list(_beside_copy(plan, opened.live, label, arrays))
    if reason:
        checks.append(
            Check(
                level="logits",
                name="error of the object",
                subject=label,
                status="reported",
                message=f"held against its copy alone: {reason}",
            )
        )
    else:
        digests = said.get("digests", {})
        ran.subjects[label] = Answers(arrays, digests, torch=False, live=True)
    return checks


def _beside_copy(plan: Plan, live: Any, label: str, arrays: Arrays) -> Iterator[Check]:
    """The object's outputs beside those of its copy, for every kind of input."""
    fields = plan.case()
    copy, runner = _runner(copy_of(live)), _runner(live)
    size = fields["batch"]
    for kind, file in fields["sets"].items():
        x: Array = np.load(plan.folder / file, allow_pickle=False)
        given = arrays[f"set:{kind}:outputs"]
        parts = [copy.outputs(x[i : i + size]) for i in range(0, len(x), size)]
        expected = np.concatenate(parts)
        same = given.tobytes() == expected.tobytes()
        yield Check(
            level="logits",
            name="outputs beside those of a copy",
            inputs=kind,
            subject=label,
            status="passed" if same else "failed",
            message="" if same else _other(runner, copy, x[:size], given, expected),
            count=len(x),
            same_bits=same,
        )


def _other(
    runner: Runner, copy: Runner, x: Array, given: Array, expected: Array
) -> str:
    text = "other outputs"
    if given.shape == expected.shape:
        text = f"up to {float(np.abs(given - expected).max()):.3g} apart"
    pairs = zip(runner.taps(x), copy.taps(x), strict=True)
    first = next((one[0] for one, other in pairs if _differ(one[1], other[1])), "")
    return f"{text}, from {first} on" if first else f"{text}; no step does by itself"


def _differ(one: Array, other: Array) -> bool:
    return one.shape != other.shape or one.tobytes() != other.tobytes()


def _not_judged(ran: Run, plan: Plan, live: Any) -> str:
    """Why no answer of fresh processes judges the object's; empty if they do."""
    if not ran.reference.arrays:
        return "there is no reference"
    dtype, device = _PLACES[framework_of(live)](getattr(live, "vit", live))
    if device != "cpu":
        return "its process has its own settings of the device"
    if (dtype, device) != (plan.dtype, plan.device):
        mine, theirs = f"{dtype} on {device}", f"{plan.dtype} on {plan.device}"
        return f"it computes in {mine}, the reference in {theirs}"
    return ""


def _torch_place(vit: Any) -> tuple[str, str]:
    weight = next(vit.parameters())
    return str(weight.dtype).removeprefix("torch."), str(weight.device.type)


def _keras_place(vit: Any) -> tuple[str, str]:
    device = str(vit.weights[0].value.device).lower()
    other = any(name in device for name in ("gpu", "cuda", "tpu", "mps"))
    return str(vit.dtype_policy.name), "gpu" if other else "cpu"


_PLACES = {"torch": _torch_place, "keras": _keras_place}


def _runner(live: Any) -> Runner:
    if framework_of(live) == "torch":
        from converters.workers.torch_runner import TorchRunner

        return TorchRunner(getattr(live, "vit", live))
    from converters.workers.keras_runner import KerasRunner

    return KerasRunner(live)


@contextmanager
def _as_it_is(live: Any) -> Iterator[None]:
    """For evaluation, whatever mode it is in and stands in; afterwards as before.

    Not `train()` and `eval()`: each part may be in another mode.
    """
    if not is_module(live):
        yield
        return
    import torch

    device = next(live.parameters()).device.type
    modes = [(part, part.training) for part in live.modules()]
    try:
        live.eval()
        with (
            torch.autocast(device, enabled=False),
            torch.compiler.set_stance("force_eager"),
        ):
            yield
    finally:
        for part, mode in modes:
            part.training = mode
