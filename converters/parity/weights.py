"""Both operands' weights and configs, without running anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from converters.errors import ConversionError, Issue
from converters.judging.criteria import Criteria
from converters.judging.rms import rms
from converters.mapping.pipe import Array, Digests, np_dtype, sha256
from converters.parity.operands import Opened
from converters.parity.record import Check, ConfigRow, TensorRow
from converters.wording import option
from vit_config import ViTConfig

GEOMETRY = ("spatial_dims", "img_size", "in_chans", "num_classes")
"""Fields without which two models cannot be given the same input or compared."""


class GeometryError(ConversionError):
    """Two models that take other inputs, or give other outputs."""


def check_geometry(a: ViTConfig, b: ViTConfig) -> None:
    """Whether both take the same input and give outputs of one shape.

    Raises:
        GeometryError: If not, naming every field.
    """
    issues = [
        Issue("config", name, found=str(getattr(b, name)), expected=str(wanted))
        for name in GEOMETRY
        if getattr(b, name) != (wanted := getattr(a, name))
    ]
    if not issues and output_shape(a) != output_shape(b):
        found, wanted = (f"outputs {output_shape(config)}" for config in (b, a))
        issues = [Issue("config", "global_pool", found=found, expected=wanted)]
    if issues:
        raise GeometryError(
            issues,
            file="B, against A",
            hint="Models of other inputs or outputs cannot be compared; convert's "
            f"{option('image_size')}, {option('num_classes')} and {option('output')} "
            "make them alike.",
        )


def output_shape(config: ViTConfig) -> tuple[int, ...]:
    """Shape of what the model gives for one input."""
    if config.num_classes:
        return (config.num_classes,)
    if config.global_pool == "none":
        return (config.num_tokens, config.embed_dim)
    return (config.head_in_dim,)


def tensor_rows(a: Opened, b: Opened) -> tuple[TensorRow, ...]:
    """All weights of both; those that differ are read and measured."""
    return tuple(_rows(a, b))


def _rows(a: Opened, b: Opened) -> Iterator[TensorRow]:
    mine, theirs = a.found.digests, b.found.digests
    for name in dict.fromkeys((*mine, *theirs)):
        of_a, of_b = mine.get(name), theirs.get(name)
        known: dict[str, Any] = {"name": name}
        if of_b is not None:
            known |= {"dtype_b": of_b[0], "shape": of_b[1], "sha256_b": of_b[2]}
        if of_a is not None:
            known |= {"dtype_a": of_a[0], "shape": of_a[1], "sha256_a": of_a[2]}
        if of_a and of_b and of_a[1] == of_b[1] and of_a[2] != of_b[2]:
            known |= _measured(a.found.source.read(name), b.found.source.read(name))
        yield TensorRow(**known)


def _measured(a: Array, b: Array) -> dict[str, Any]:
    wide = a.astype(np.float64)
    difference = b.astype(np.float64) - wide
    scale = rms(wide)
    found = rms(difference)
    return {
        "max_difference": float(np.abs(difference).max(initial=0.0)),
        "rms_difference": found / scale if scale else (float("inf") if found else 0.0),
        "differing": int(np.count_nonzero(difference)),
    }


def check_tensors(
    a: Opened, b: Opened, rows: Iterable[TensorRow], criteria: Criteria
) -> Check:
    """Whether every weight of B is the one of A."""
    rows = list(rows)
    only_a = [row.name for row in rows if not row.sha256_b]
    only_b = [row.name for row in rows if not row.sha256_a]
    both = [row for row in rows if row.sha256_a and row.sha256_b]
    other = [row.name for row in both if not row.equal]
    rounded = bool(other) and not (only_a or only_b) and _rounded(a, b, other)
    problems = []
    if only_a:
        problems.append(f"B lacks {names(only_a)}")
    if only_b:
        problems.append(f"A lacks {names(only_b)}")
    if other and rounded:
        problems.append(f"B is A rounded to {b.operand.dtype}, exactly")
    elif other:
        problems.append(f"{len(other)} of {len(both)} differ: {names(other)}")
    accepted = not problems or (rounded and criteria.weights == "rounded")
    equal = f"{len(both)} tensors, {a.operand.parameters:,} parameters"
    return Check(
        level="weights",
        name="tensors",
        subject="B",
        meaning="weights",
        status="passed" if accepted else "failed",
        message="; ".join(problems) or equal,
        count=len(rows),
        same_bits=not problems,
        max_difference=max((row.max_difference or 0.0 for row in both), default=0.0),
    )


def _rounded(a: Opened, b: Opened, differing: list[str]) -> bool:
    """Whether B is exactly A in a smaller type."""
    dtype = np_dtype(b.found.dtype)
    if dtype.itemsize >= np_dtype(a.found.dtype).itemsize:
        return False
    for name in differing:
        of_b = b.found.digests[name]
        if of_b[1] != a.found.digests[name][1]:
            return False
        if sha256(a.found.source.read(name).astype(dtype)) != of_b[2]:
            return False
    return True


def names(found: list[str], most: int = 3) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def config_rows(a: ViTConfig, b: ViTConfig) -> tuple[ConfigRow, ...]:
    """Every field that differs; labels and source as hashes only."""
    rows = [
        ConfigRow(section="architecture", field=field, a=left, b=right)
        for field, left, right in _differences(a.architecture(), b.architecture())
    ]
    data = [c.data.model_dump(mode="json") if c.data else {} for c in (a, b)]
    rows += [
        ConfigRow(section="data", field=f"data.{field}", a=left, b=right)
        for field, left, right in _differences(*data)
    ]
    if a.labels != b.labels:
        left, right = (_hashed(config.labels) for config in (a, b))
        rows.append(ConfigRow(section="labels", field="labels", a=left, b=right))
    source = [c.source.model_dump(mode="json") if c.source else {} for c in (a, b)]
    rows += [
        ConfigRow(
            section="source",
            field=f"source.{field}",
            a=_hashed(source[0].get(field)),
            b=_hashed(source[1].get(field)),
        )
        for field, _, _ in _differences(*source)
    ]
    return tuple(rows)


def _differences(
    a: dict[str, Any], b: dict[str, Any]
) -> Iterator[tuple[str, str, str]]:
    for field in dict.fromkeys((*a, *b)):
        left, right = a.get(field), b.get(field)
        if left != right:
            yield field, json.dumps(left), json.dumps(right)


def _hashed(value: Any) -> str:
    """What can be compared and gives nothing away."""
    if value in (None, [], ()):
        return "null"
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def config_checks(
    rows: Iterable[ConfigRow], a: ViTConfig, b: ViTConfig
) -> Iterator[Check]:
    """Whether both configs describe one model, and one way to feed it."""
    rows = list(rows)
    fields = [row.field for row in rows if row.section == "architecture"]
    yield _config("architecture", fields)
    for section in ("data", "labels"):
        told = [getattr(config, section) is not None for config in (a, b)]
        mine = [row for row in rows if row.section == section]
        added = [row.field for row in mine if row.a == "null"]
        fields = [row.field for row in mine if row.field not in added]
        if fields or (all(told) and not added):
            yield _config(section, fields)
        else:
            yield Check(
                level="config",
                name=section,
                subject="B",
                status="reported",
                message=f"stated by B only: {names(added, 6)}"
                if added
                else "stated by neither",
            )


def _config(name: str, fields: list[str]) -> Check:
    return Check(
        level="config",
        name=name,
        subject="B",
        status="failed" if fields else "passed",
        message=f"differs in {names(fields, 6)}" if fields else "",
    )


def memory_check(subject: str, digests: dict[str, str], file: Digests) -> Check:
    """Whether a model in memory has the weights of its file.

    Args:
        subject: Which model.
        digests: SHA-256 of each canonical tensor in memory.
        file: Of the file.
    """
    wanted = {name: digest for name, (_, _, digest) in file.items()}
    other = [name for name in wanted if digests.get(name) != wanted[name]]
    other += [name for name in digests if name not in wanted]
    return Check(
        level="weights",
        name="weights in memory",
        subject=subject,
        meaning="weights",
        status="failed" if other else "passed",
        message=(
            f"after loading, {len(other)} of {len(wanted)} are not those of the file: "
            f"{names(other)}"
            if other
            else f"{len(wanted)} tensors as in the file"
        ),
        count=len(wanted),
        same_bits=not other,
    )
