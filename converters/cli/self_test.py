"""`vit-duet verify --self-test`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from converters.parity.selftest.run import Kind, SelfTest

_TITLES: dict[Kind, tuple[str, str]] = {
    "recorded": ("recorded outputs of the libraries", "met"),
    "fault": ("faults", "found"),
    "clean": ("clean pairs", "passed"),
}


_TAKEN = {"self_test", "backend", "device", "seed", "json_", "force"}


def check_alone(ctx: typer.Context) -> None:
    """Whether nothing was given that a self-test does not take.

    Raises:
        ConversionError: Naming what was.
    """
    from converters.errors import refusal

    given = []
    for parameter in ctx.command.params:
        name = parameter.name or ""
        source = str(ctx.get_parameter_source(name))
        if name not in _TAKEN and source.endswith("COMMANDLINE"):
            flag = max(parameter.opts, key=len)
            given.append(flag if flag.startswith("-") else flag.upper())
    if given:
        raise refusal(
            f"--self-test goes without {', '.join(given)}",
            kind="config",
            hint="It takes --backend, --device, --seed and --json.",
        )


def tried(
    backends: Sequence[str],
    device: str,
    seed: int,
    json: Path | None,
    force: bool,
    tell: Callable[[str], None] | None,
) -> tuple[str, bool]:
    """Runs it; what to print, and whether it passed."""
    from converters.errors import refusal
    from converters.files.atomic import atomic, check_output
    from converters.parity.output import PRINT
    from converters.parity.selftest.run import self_test
    from converters.workers.process import ProcessError

    if json is not None and json != PRINT:
        check_output(json, (), force)
    try:
        found = self_test(backends, device=device, seed=seed, progress=tell)
    except ProcessError as error:
        raise refusal(str(error), kind="config") from None
    record = found.model_dump_json(indent=2)
    if json == PRINT:
        return record, found.passed
    if json is not None:
        with atomic(json, force=force) as path:
            path.write_text(record + "\n", encoding="utf-8")
    return as_text(found), found.passed


def as_text(found: SelfTest) -> str:
    """A few lines: what was tried on which backend, and what went wrong."""
    lines = []
    for kind, (title, verb) in _TITLES.items():
        for backend in dict.fromkeys(item.backend for item in found.of(kind)):
            some = found.of(kind, backend)
            good = sum(item.passed for item in some)
            line = f"{backend}: {good} of {len(some)} {title} {verb}"
            if kind != "fault":
                line += f", ratio at most {_largest(found, kind, backend):.2f}"
            lines.append(line)
    lines.append(f"blamed rightly: {found.blamed:.0%} of the faults found")
    wrong = [item for item in found.items if not item.passed]
    lines += [f"  {item.backend}: {item.name}: {item.message}" for item in wrong]
    versions = ", ".join(f"{name} {text}" for name, text in found.versions.items())
    verdict = "PASSED" if found.passed else "FAILED"
    head = f"{verdict}: self-test of verify on {found.device}, {found.seconds:.0f} s"
    return "\n".join([head, *lines, versions])


def _largest(found: SelfTest, kind: Kind, backend: str) -> float:
    ratios = [item.ratio for item in found.of(kind, backend) if item.ratio is not None]
    return max(ratios, default=float("nan"))
