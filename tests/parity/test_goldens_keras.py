"""`keras_vit` against golden outputs of the real libraries, on every backend."""

from __future__ import annotations

import pytest

from tests.parity import golden_cases, suite
from tests.saving.backends import BACKENDS, available, backend_param

CASES = golden_cases.case_names()


def pairs(every: bool):
    """(backend, case); in the default run some cases, each on one backend."""
    found = []
    for backend in BACKENDS:
        wanted = available()
        cases = suite.golden_share(backend, wanted, every) if every or wanted else []
        marks = backend_param(backend).marks
        found += [pytest.param(backend, case, marks=marks) for case in cases]
    return found


def failures(case, results):
    given = results.of(f"golden/{case}")
    return [
        str(judgement)
        for golden in golden_cases.goldens(case)
        for judgement in golden_cases.judge(
            golden,
            {
                name.partition("/")[2]: array
                for name, array in given.items()
                if name.partition("/")[0] == golden.kind
            },
        )
        if not judgement.passed
    ]


@pytest.mark.parametrize(("backend", "case"), pairs(False))
def test_goldens_by_the_rms_rule(backend, case, runs):
    assert not failures(case, runs.default(backend))


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "case"), pairs(True))
def test_all_goldens_by_the_rms_rule(backend, case, runs):
    assert not failures(case, runs.slow(backend))


@pytest.mark.parametrize(
    "wanted", [("tensorflow", "jax", "torch"), ("jax",), ("tensorflow", "torch")]
)
def test_a_golden_of_every_library_is_run_by_default(wanted):
    shared = [case for name in wanted for case in suite.golden_share(name, wanted)]
    assert sorted(shared) == suite.some_goldens()
    libraries = {case.partition("_")[0] for case in CASES}
    assert {case.partition("_")[0] for case in shared} == libraries
    assert len(libraries) > 3
