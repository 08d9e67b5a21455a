"""What is saved comes back bit by bit, in a fresh process, whatever the flags."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.saving.backends import BACKENDS, available, backend_param, value_of
from tests.saving.cases import (
    FACTORS,
    ILLEGAL,
    WAYS,
    legal,
    make_config,
    matrix,
    pairs_of,
    values_of,
)
from tests.saving.conftest import READER, Runs, cases, foreign, savers, ways
from vit_config import ConfigError

TOLERANCE = 4e-6
"""Bound on the RMS difference between backends, as a share of the output's RMS.

Float32 rounds to 6e-8; two blocks of width 24 add up some tens of such errors, in
another order on every backend. Measured: at most 5e-7.
"""


def reloads(every: bool) -> list[Any]:
    """(backend, case) for all that a backend reloads of its own."""
    return [
        backend_param(backend, case.name)
        for backend in BACKENDS
        for case in (cases(backend, every) if backend in available() else matrix()[:1])
        if every or backend != READER or backend in savers()
    ]


def crossings(every: bool) -> list[Any]:
    """(backend, source, case) for all that a backend loads of others."""
    return [
        backend_param(backend, source, case.name)
        for backend, source in itertools.permutations(available(), 2)
        for case in foreign(source, backend, every)
    ]


def demand_reload(
    report: dict[str, dict[str, bool]], backend: str, every: bool = False
) -> None:
    assert tuple(report) == tuple(ways(backend, every))
    good = {"same": True, "finite": True, "verified": True}
    assert {way: found for way, found in report.items() if found != good} == {}


def demand_crossing(report: dict[str, Any]) -> None:
    assert report["verified"]
    assert report["error"] <= TOLERANCE


@pytest.mark.parametrize(("backend", "case"), reloads(every=False))
def test_reload_is_bit_identical(runs: Runs, backend: str, case: str) -> None:
    value_of(runs.made(backend), f"make {case}")
    demand_reload(value_of(runs.loaded(backend), f"load {case}"), backend)


@pytest.mark.parametrize(("backend", "source", "case"), crossings(every=False))
def test_keras_file_loads_on_other_backends(
    runs: Runs, backend: str, source: str, case: str
) -> None:
    demand_crossing(value_of(runs.loaded(backend), f"foreign {source} {case}"))


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "case"), reloads(every=True))
def test_reload_is_bit_identical_everywhere(
    runs: Runs, backend: str, case: str
) -> None:
    value_of(runs.made(backend, every=True), f"make {case}")
    loaded = runs.loaded(backend, every=True)
    demand_reload(value_of(loaded, f"load {case}"), backend, every=True)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "source", "case"), crossings(every=True))
def test_every_keras_file_loads_on_other_backends(
    runs: Runs, backend: str, source: str, case: str
) -> None:
    demand_crossing(
        value_of(runs.loaded(backend, every=True), f"foreign {source} {case}")
    )


def test_matrix_covers_every_legal_pair_of_values() -> None:
    wanted = {
        ((a, x), (b, y))
        for (a, xs), (b, ys) in itertools.combinations(FACTORS.items(), 2)
        for x, y in itertools.product(xs, ys)
        if legal(a, x, b, y)
    }
    covered = set().union(*(pairs_of(case.values) for case in matrix()))
    assert covered == wanted
    kinds = {(c.config.spatial_dims, c.config.classification) for c in matrix()}
    assert kinds == set(itertools.product((2, 3), (False, True)))


def test_every_value_is_reloaded_on_every_saver_and_in_every_way() -> None:
    """In the default run, and each backend with models of its own."""
    shares = {backend: cases(backend) for backend in savers()}
    for share in shares.values():
        assert values_of(share) == values_of(matrix())
    dealt = [case.name for share in shares.values() for case in share]
    assert len(set(dealt)) == len(dealt)
    assert not shares or {way for name in shares for way in ways(name)} == {*WAYS}
    assert all(set(ways(name, every=True)) == {*WAYS} for name in available())


@pytest.mark.parametrize("pair", sorted(ILLEGAL, key=str), ids=str)
def test_pairs_left_out_are_refused_by_the_schema(pair: tuple) -> None:
    key, value, other, bad = pair
    good = next(
        case.values
        for case in matrix()
        if case.values[key] == value and case.values["pos_embed"] != "none"
    )
    with pytest.raises(ConfigError):
        make_config({**good, other: bad})


def test_every_architecture_flag_is_in_the_matrix() -> None:
    """A flag that the schema gains must be added here."""
    fields = set(matrix()[0].config.architecture())
    fixed = {
        *("schema_version", "img_size", "patch_size", "embed_dim", "depth"),
        *("num_heads", "mlp_dim", "pos_resize", "rope", "norm_layer", "weight_init"),
        *("problem_type",),
    }
    rates = {"drop", "pos_drop", "proj_drop", "attn_drop", "drop_path"}
    varied = (FACTORS.keys() - {"dropout"}) | {f"{name}_rate" for name in rates}
    assert fields - fixed == varied
