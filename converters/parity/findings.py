"""All that a verification has found so far, and the record of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from converters.judging.criteria import Criteria
from converters.parity.diagnose import of_config, of_tensors
from converters.parity.identity import statement_checks
from converters.parity.operands import Opened
from converters.parity.options import Options
from converters.parity.record import (
    Check,
    Level,
    Operand,
    ParityReport,
    Setting,
    verdict_of,
)
from converters.parity.run import Run
from converters.parity.sentence import sentence
from converters.parity.weights import (
    check_tensors,
    config_checks,
    config_rows,
    tensor_rows,
)
from converters.version import VERSION


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


def compare_files(found: Findings, a: Opened, b: Opened, criteria: Criteria) -> None:
    """Weights and configs of both, without running anything."""
    rows = tensor_rows(a, b)
    found.add("tensors", *rows)
    found.checks.append(check_tensors(a, b, rows, criteria))
    fields = config_rows(a.config, b.config)
    found.add("config", *fields)
    found.checks += config_checks(fields, a.config, b.config)
    found.checks += statement_checks(a.config, b.config)
    found.add("divergences", *of_config(fields), *of_tensors(a, b, rows))


def not_checked(level: Level, subject: str, reason: str) -> Check:
    """A part that was asked for and could not be run."""
    return Check(
        level=level,
        name="all",
        subject=subject,
        status="not checked",
        message=reason,
    )


def report_of(
    found: Findings,
    ran: Run,
    options: Options,
    a: Operand,
    b: Operand,
    seconds: float,
    phases: dict[str, float] | None = None,
) -> ParityReport:
    """The record of all that was found."""
    verdict = verdict_of(found.checks)
    return ParityReport(
        producer=f"vit-duet {VERSION}",
        verdict=verdict,
        sentence=sentence(verdict, found.checks, options.level),
        a=a,
        b=b,
        setting=Setting(
            level=options.level,
            device=options.device,
            dtype=options.dtype,
            backends=ran.backends,
            against_source=options.against_source,
            seed=options.seed,
            inputs=ran.own_inputs,
            versions=ran.versions,
            flags=ran.flags,
            criteria=options.criteria.model_dump(mode="json"),
            criteria_hash=options.criteria_hash,
        ),
        checks=tuple(found.checks),
        seconds=seconds,
        phases=phases or {},
        **cast("dict[str, Any]", {k: tuple(v) for k, v in found.parts.items()}),
    )
