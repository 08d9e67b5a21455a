"""Everything that can be wrong with a source, found before anything is written."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import numpy as np

from converters.errors import Issue
from converters.mapping.pipe import (
    FLOATS,
    Array,
    Digests,
    Source,
    count_nonfinite,
    key_bias_of,
)
from converters.mapping.stream import Hasher, ahead
from converters.mapping.table import Plan
from converters.wording import option
from vit_config import ViTConfig


def check_tensors(source: Source, plan: Plan, casting: bool = False) -> list[Issue]:
    """Compares names, shapes and types with the plan; no values are read.

    Args:
        source: The tensors of a file, under that file's names.
        plan: From those names to the canonical ones.
        casting: Whether a step will bring all to one type, so that they may differ.
    """
    wanted = plan.source_shapes
    found = source.tensors
    missing = [name for name in wanted if name not in found]
    unexpected = [name for name in found if name not in wanted]
    issues = [
        Issue("missing", name, expected=_shape(wanted[name]), near=near)
        for name, near in _pair(missing, unexpected).items()
    ]
    issues += [
        Issue("unexpected", name, found=_shape(found[name].shape), near=near)
        for name, near in _pair(unexpected, missing).items()
    ]
    both = [name for name in wanted if name in found]
    issues += [
        Issue("shape", name, _shape(found[name].shape), _shape(wanted[name]))
        for name in both
        if found[name].shape != wanted[name]
    ]
    return issues + _dtype_issues(source, both, casting)


def _dtype_issues(source: Source, names: Iterable[str], casting: bool) -> list[Issue]:
    types = {name: source.tensors[name].dtype for name in names}
    allowed = (*FLOATS, "float64") if casting else FLOATS
    issues = [
        Issue("dtype", name, dtype, " or ".join(allowed))
        for name, dtype in types.items()
        if dtype not in allowed
    ]
    kinds = sorted(set(types.values()))
    if not issues and not casting and len(kinds) > 1:
        counts = {kind: list(types.values()).count(kind) for kind in kinds}
        main = max(kinds, key=lambda kind: counts[kind])
        issues = [
            Issue(
                "dtype", name, dtype, f"{main}, as most; or a cast ({option('dtype')})"
            )
            for name, dtype in types.items()
            if dtype != main
        ]
    return issues


def check_values(
    source: Source, config: ViTConfig, names: Iterable[str]
) -> tuple[list[Issue], Digests]:
    """Reads every tensor once: finite, key bias zero; and its digest.

    Args:
        source: Canonical tensors.
        config: Their config.
        names: The tensors to read.
    """
    inspected = Inspected(source, config)
    with ahead(inspected, names) as arrays, Hasher() as hasher:
        for name, array in arrays:
            hasher.add(name, array)
        return inspected.issues, hasher.digests()


class Inspected:
    """Canonical tensors whose values are checked when they are read.

    Args:
        source: The tensors.
        config: Their config.

    Attributes:
        issues: What was wrong so far, once for each tensor.
    """

    def __init__(self, source: Source, config: ViTConfig) -> None:
        self._source, self._config = source, config
        self._seen: set[str] = set()
        self.tensors = source.tensors
        self.issues: list[Issue] = []

    def read(self, name: str) -> Array:
        """The values of one tensor."""
        array = self._source.read(name)
        if name not in self._seen:
            self._seen.add(name)
            problem = value_problem(name, array, self._config)
            if problem:
                self.issues.append(Issue("value", name, problem))
        return array


def overflow_problem(array: Array) -> str:
    """Whether finite values became infinite in a step, in words."""
    nan, inf = count_nonfinite(array)
    count = nan + inf  # the difference of two infinities is no number
    if not count:
        return ""
    return f"{count} of {array.size} values are too large for {array.dtype}"


def value_problem(name: str, array: Array, config: ViTConfig) -> str:
    """What is wrong with the values of a canonical tensor, or an empty text."""
    nan, inf = count_nonfinite(array)
    if nan or inf:
        return f"{nan} NaN and {inf} infinite of {array.size} values"
    if key_bias_of(name, config):
        wrong = int(np.count_nonzero(np.split(array, 3)[1]))
        if wrong:
            return (
                f"{wrong} values of the key part are not zero, but the config has "
                "qkv_bias='qv'; with qkv_bias=true they would count"
            )
    return ""


def _shape(shape: tuple[int, ...]) -> str:
    return str(tuple(shape))


def _pair(names: list[str], others: list[str]) -> dict[str, str]:
    """The most similar of the others for each name, in so far as there is one."""
    if len(names) * len(others) > 250_000:
        return dict.fromkeys(names, "")
    return {name: _nearest(name, others) for name in names}


def _nearest(name: str, others: list[str]) -> str:
    numbers = [part for part in name.replace("/", ".").split(".") if part.isdecimal()]
    same = [
        other
        for other in others
        if [p for p in other.replace("/", ".").split(".") if p.isdecimal()] == numbers
    ]
    near = difflib.get_close_matches(name, same, n=1, cutoff=0.75)
    return near[0] if near else ""
