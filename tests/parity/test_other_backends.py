"""Keras on tensorflow and jax against the torch twin, by the RMS rule.

In the default run every case is judged on tensorflow, of a sample also gradients and
all kinds of input, and a few on jax. The slow run does all of it for every case on
both (but gradients of a sample on jax), and calls some both eagerly and compiled.
"""

from __future__ import annotations

import pytest

from tests.cases import CASES
from tests.parity import suite
from tests.saving.backends import available, backend_param

pytest.importorskip("torch")

backends = pytest.mark.parametrize(
    "backend", [backend_param(name) for name in suite.other_backends()]
)
devices = pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
)
slow = pytest.mark.slow


def failures(jobs, runs, results, device):
    judged = [
        (job, verdict)
        for job in jobs
        for verdict in runs.verdicts(job, results, device)
    ]
    assert judged, "nothing was judged"
    return [f"{job.key} {v}" for job, v in judged if not v.passed]


def pairs(jobs):
    """(backend, case) of the default run that have such jobs."""
    return [
        pytest.param(backend, case, marks=backend_param(backend).marks)
        for case in CASES
        for backend in suite.other_backends()
        if case in suite.share(backend, available()) and jobs(case, backend)
    ]


@devices
@pytest.mark.parametrize(("backend", "case"), pairs(suite.output_jobs))
def test_outputs_by_the_rms_rule(backend, case, device, runs):
    results = runs.default(backend, device)
    assert not failures(suite.output_jobs(case, backend), runs, results, device)


@devices
@pytest.mark.parametrize(("backend", "case"), pairs(suite.gradient_jobs))
def test_gradients_by_the_rms_rule(backend, case, device, runs):
    results = runs.default(backend, device)
    assert not failures(suite.gradient_jobs(case, backend), runs, results, device)


@backends
def test_query_value_bias_trains_no_key(backend, runs):
    """No output shows whether keys have a bias, but an optimizer would move it."""
    case = "qv_bias"
    config = CASES[case]
    keys = slice(config.attn_dim, 2 * config.attn_dim)
    for job in suite.gradient_jobs(case, backend):
        found = runs.default(backend).of(job.key)
        for i in range(config.depth):
            gradient = found[f"grad.blocks.{i}.attn.qkv.bias"]
            assert not gradient[keys].any()
            assert gradient[: keys.start].any()


@slow
@devices
@backends
@pytest.mark.parametrize("case", CASES)
def test_all_outputs_by_the_rms_rule(case, backend, device, runs):
    results = runs.slow(backend, device)
    jobs = suite.output_jobs(case, backend, True)
    jobs = [job for job in jobs if job.batch == suite.BATCH]
    assert not failures(jobs, runs, results, device)


def small_jobs(case, backend):
    jobs = suite.output_jobs(case, backend, True)
    return [job for job in jobs if job.batch != suite.BATCH]


@slow
@devices
@pytest.mark.parametrize(("backend", "case"), pairs(small_jobs))
def test_small_batches_by_the_rms_rule(backend, case, device, runs):
    """Tokens only: the logits of one or three inputs say nothing."""
    results, jobs = runs.slow(backend, device), small_jobs(case, backend)
    assert not failures(jobs, runs, results, device)


def gradient_pairs():
    """(backend, case) of the slow run: of jax, which compiles for long, a sample."""
    return [
        pytest.param(backend, case, marks=backend_param(backend).marks)
        for case in CASES
        for backend in suite.other_backends()
        if suite.gradient_jobs(case, backend, True)
    ]


@slow
@devices
@pytest.mark.parametrize(("backend", "case"), gradient_pairs())
def test_all_gradients_by_the_rms_rule(backend, case, device, runs):
    results = runs.slow(backend, device)
    assert not failures(suite.gradient_jobs(case, backend, True), runs, results, device)


@pytest.mark.parametrize(
    "wanted", [("tensorflow", "jax", "torch"), ("jax",), ("tensorflow", "torch")]
)
def test_jobs_judge_what_they_should(wanted):
    found = [
        (backend, job)
        for backend in suite.other_backends()
        if backend in wanted
        for case in suite.share(backend, wanted)
        for job in suite.output_jobs(case, backend)
    ]
    assert {job.case for _, job in found} == set(CASES)
    for case in CASES:
        kinds = {job.kind for _, job in found if job.case == case}
        assert kinds >= {"noise", "low_variance"}
    assert {job.kind for _, job in found} == set(suite.KINDS)
    assert {job.impl for _, job in found} == {"fused", "explicit"}
    assert all(job.batch >= 64 for _, job in found)
