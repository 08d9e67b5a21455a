"""The Keras twin in float64: the same mathematics, to the last digit.

Rounding is a billion times smaller here, so a wrong epsilon or another GELU cannot hide
in it. On tensorflow float64 is real; on torch and jax Keras turns it into float32,
until the process is told otherwise (`worker.allow_float64`, for tests only).
"""

from __future__ import annotations

import pytest

from tests.cases import CASES
from tests.parity import suite
from tests.saving.backends import BACKENDS, backend_param

pytest.importorskip("torch")

LIMIT = 1e-12

PAIRS = [
    pytest.param(backend, case, marks=backend_param(backend).marks)
    for backend in BACKENDS
    for case in suite.EXACT[backend]
]


def differences(jobs, runs, results):
    return {
        f"{job.key} {name}": difference
        for job in jobs
        for name, difference in suite.inexact(
            job, results.of(job.key), runs.reference(job)
        )
    }


@pytest.mark.parametrize(("backend", "case"), PAIRS)
def test_float64_agrees_to_1e_12_of_the_scale(backend, case, runs):
    jobs = suite.exact_jobs(case, backend)
    found = differences(jobs, runs, runs.default(backend))
    assert any("grad.input" in name for name in found)
    assert not {name: d for name, d in found.items() if not d <= LIMIT}


ALL_PAIRS = [
    pytest.param(backend, case, marks=backend_param(backend).marks)
    for case in CASES
    for backend in BACKENDS
    if suite.exact_jobs(case, backend, True)
]
"""Every case on torch and tensorflow; on jax, which compiles long, the sample."""


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "case"), ALL_PAIRS)
def test_float64_of_every_case(backend, case, runs):
    jobs = suite.exact_jobs(case, backend, True)
    found = differences(jobs, runs, runs.slow(backend))
    assert not {name: d for name, d in found.items() if not d <= LIMIT}
