"""`assert_parity`: a verification as an assertion, for any test framework."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters.parity.failure import command, explain
from converters.parity.record import ParityReport, verdict_of
from converters.parity.verify import verify
from converters.parity.weights import GeometryError


def assert_parity(
    a: Any,
    b: Any,
    *,
    level: str = "logits",
    backends: str | Sequence[str] | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    criteria: str | Path | dict[str, Any] | None = None,
    inputs: Sequence[str | Path] = (),
    allow_unchecked: bool = False,
    **more: Any,
) -> ParityReport:
    """Asserts that two models are the same.

    Args:
        a: The model that is held to be right; anything that `converters.verify` takes.
        b: The model that is to be the same.
        level: How far to look, as in `converters.verify`.
        backends: One Keras backend or several; None leaves the choice to
            `converters.verify`.
        device: `"cpu"` or `"cuda"`.
        dtype: Type to compute in.
        criteria: Acceptance limits.
        inputs: Pictures, volumes, arrays or folders of them, besides the noise.
        allow_unchecked: Whether parts that could not be run (no GPU, no such backend)
            are accepted; `report.not_checked` and `report.sentence` name them.
        **more: Other arguments of `converters.verify`.

    Returns:
        What was checked.

    Raises:
        AssertionError: If anything failed, if not all that was asked for was run, or if
            the models take other inputs or give other outputs.
        ConversionError: If an operand cannot be read.
        ConfigError: If a config describes no model.
        MissingExtraError: If an input needs what is not installed.
    """
    __tracebackhide__ = True  # pytest shows the caller's line, not this one
    asked: dict[str, Any] = {
        "level": level,
        "backends": (backends,) if isinstance(backends, str) else tuple(backends or ()),
        "device": device,
        "dtype": dtype,
        "criteria": criteria,
        "inputs": tuple(inputs),
        **more,
    }
    try:
        report = verify(a, b, **asked)
    except GeometryError as error:
        again = command(a, b, asked)
        text = f"B is not the same model as A.\n{error}\n\nTo see it again:\n  {again}"
        raise AssertionError(text) from None
    if report.passed or (allow_unchecked and _nothing_else(report)):
        return report
    raise AssertionError(explain(report, command(a, b, asked)))


def _nothing_else(report: ParityReport) -> bool:
    """Whether something passed, nothing failed, and the rest could not be run."""
    run = (check for check in report.checks if check.status != "not checked")
    return verdict_of(run) == "passed"
