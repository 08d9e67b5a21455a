"""Holds a verification against an earlier record of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from converters.errors import refusal
from converters.judging.criteria import Criteria
from converters.parity.record import Check, ParityReport, Status
from converters.parity.weights import names

CHANGE = 0.1
"""Ratios that moved by a larger share are told: other processors round elsewhere."""


def read_record(path: Path) -> ParityReport:
    """Reads a record from its file.

    Raises:
        ConversionError: If it cannot be read, or is none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise refusal(f"cannot be read: {error.strerror}", file=path) from None
    return ParityReport.from_json(data, path)


def asked_before(record: ParityReport) -> dict[str, Any]:
    """The arguments of `verify` that were given then."""
    setting = record.setting
    return {
        "level": setting.level,
        "backends": setting.backends,
        "device": setting.device,
        "dtype": setting.dtype,
        "seed": setting.seed,
        "against_source": setting.against_source,
        "criteria": _limits(setting.criteria),
        "criteria_hash": setting.criteria_hash,
    }


def _limits(criteria: dict[str, Any]) -> Criteria:
    """The limits of a record, which lists those that nobody asked for as well."""
    usual = Criteria().model_dump()
    found = Criteria.model_validate(criteria)
    return Criteria.model_validate(
        {key: value for key, value in found.model_dump().items() if value != usual[key]}
    )


def recheck(record: ParityReport, found: ParityReport) -> Iterator[Check]:
    """Whether a new verification of two models finds what the record says.

    Args:
        record: The earlier one.
        found: The new one, asked for the same.
    """
    for then, now in ((record.a, found.a), (record.b, found.b)):
        for field in ("fingerprint", "architecture", "model"):
            old, new = getattr(then, field), getattr(now, field)
            if field == "model" and not old:
                continue  # a record from before there was such a hash
            yield _check(
                f"{field} of {then.role}",
                old == new,
                f"{new[:16]}, in the record {old[:16]}",
            )
    if record.setting.inputs != found.setting.inputs:
        yield Check(
            level="record",
            name="own inputs",
            status="not checked",
            message=f"the record has {record.setting.inputs}, "
            f"given are {found.setting.inputs}",
        )
    before, after = _statuses(record), _statuses(found)
    lacking = [key for key in before if key not in after]
    other = [key for key in before if key in after and after[key] != before[key]]
    yield _check(
        "verdicts",
        not (lacking or other),
        f"{len(lacking)} checks were not made again, {len(other)} ended otherwise: "
        + names([" ".join(filter(None, key)) for key in (*other, *lacking)]),
    )
    moved = list(_moved(record, found))
    if moved:
        yield Check(
            level="record",
            name="figures",
            status="reported",
            message=f"{len(moved)} ratios moved by over {CHANGE:.0%}: {names(moved)}",
        )
    versions = [
        f"{name} {found.setting.versions.get(name, 'missing')} (then {then})"
        for name, then in record.setting.versions.items()
        if found.setting.versions.get(name) != then
    ]
    if versions:
        yield Check(
            level="record",
            name="versions",
            status="reported",
            message=names(versions, 6),
        )


def _check(name: str, same: bool, problem: str) -> Check:
    return Check(
        level="record",
        name=name,
        status="passed" if same else "failed",
        message="" if same else problem,
    )


Key = tuple[str, str, str, str]


def _key(check: Check) -> Key:
    return (check.level, check.name, check.inputs, check.subject)


def _statuses(report: ParityReport) -> dict[Key, Status]:
    return {_key(check): check.status for check in report.checks}


def _moved(record: ParityReport, found: ParityReport) -> Iterator[str]:
    ratios = {_key(check): check.ratio for check in found.checks}
    for check in record.checks:
        now = ratios.get(_key(check))
        if check.ratio and now and abs(now / check.ratio - 1) > CHANGE:
            where = " ".join(filter(None, (check.name, check.inputs)))
            yield f"{where} {now:.2f} (then {check.ratio:.2f})"
