"""Keras on tensorflow and jax against the torch twin, by the RMS rule.

The default run judges outputs and tokens of every case on two kinds of input, and of a
sample of cases all kinds, both kinds of attention, and gradients. The slow run does all
of it for every case, and compiled programs as well.
"""

from __future__ import annotations

import pytest

from tests.cases import CASES
from tests.parity import suite
from tests.saving.backends import backend_param

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


@devices
@backends
@pytest.mark.parametrize("case", CASES)
def test_outputs_by_the_rms_rule(case, backend, device, runs):
    results = runs.default(backend, device)
    assert not failures(suite.output_jobs(case), runs, results, device)


@devices
@backends
@pytest.mark.parametrize("case", suite.SAMPLE)
def test_gradients_by_the_rms_rule(case, backend, device, runs):
    results = runs.default(backend, device)
    assert not failures(suite.gradient_jobs(case), runs, results, device)


@slow
@devices
@backends
@pytest.mark.parametrize("case", CASES)
def test_all_outputs_by_the_rms_rule(case, backend, device, runs):
    results = runs.slow(backend, device)
    jobs = [job for job in suite.output_jobs(case, True) if job.batch == suite.BATCH]
    assert not failures(jobs, runs, results, device)


@slow
@devices
@backends
@pytest.mark.parametrize("case", CASES)
def test_small_batches_by_the_rms_rule(case, backend, device, runs):
    """Tokens only: the logits of one or three inputs say nothing."""
    results = runs.slow(backend, device)
    jobs = [job for job in suite.output_jobs(case, True) if job.batch != suite.BATCH]
    assert not failures(jobs, runs, results, device)


@slow
@devices
@backends
@pytest.mark.parametrize("case", CASES)
def test_all_gradients_by_the_rms_rule(case, backend, device, runs):
    results = runs.slow(backend, device)
    assert not failures(suite.gradient_jobs(case, True), runs, results, device)


def test_jobs_judge_what_they_should():
    for case in CASES:
        jobs = suite.output_jobs(case)
        assert {job.kind for job in jobs} >= {"noise", "low_variance"}
        assert all(job.batch >= 64 or job.kind == "zeros" for job in jobs)
    everything = [job for case in suite.SAMPLE for job in suite.output_jobs(case)]
    assert {job.kind for job in everything} == set(suite.KINDS)
    assert {job.impl for job in everything} == {"fused", "explicit"}
