"""What the RMS rule sees, what it cannot see, and how often it is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.parity import suite
from tests.saving.backends import backend_param

pytest.importorskip("torch")

backends = pytest.mark.parametrize(
    "backend",
    [
        backend_param(name, marks=[pytest.mark.slow] * (name in suite.COMPILED))
        for name in suite.other_backends()
    ],
)


def results_of(backend, runs):
    return runs.slow(backend) if backend in suite.COMPILED else runs.default(backend)


@backends
@pytest.mark.parametrize("mutant", suite.MUTANTS)
def test_rule_sees_a_mistake(mutant, backend, runs):
    job = suite.mutant_job(mutant, backend)
    verdicts = runs.verdicts(job, results_of(backend, runs))
    assert not all(verdict.passed for verdict in verdicts), f"{mutant} went unseen"


@backends
def test_a_dropped_key_bias_is_seen_in_the_weights_only(backend, runs):
    """Why outputs are not enough, and every conversion compares the weights."""
    job = suite.mutant_job(suite.UNSEEN[2], backend)
    assert all(v.passed for v in runs.verdicts(job, results_of(backend, runs)))
    mutated, clean = job.weights(), replace(job, mutant="").weights()
    differing = {n for n in clean if not np.array_equal(clean[n], mutated[n])}
    assert differing == {f"blocks.{i}.attn.qkv.bias" for i in range(job.config.depth)}


@backends
def test_a_wrong_epsilon_needs_faint_inputs(backend, runs):
    """Why there is a low-variance case: on it the mistake is ten times the rounding."""
    job = suite.mutant_job("eps_1e-5", backend)
    verdicts = runs.verdicts(job, results_of(backend, runs))
    assert max(verdict.rms for verdict in verdicts) > 10


@pytest.mark.slow
@pytest.mark.parametrize("backend", [backend_param("tensorflow")])
def test_rule_gives_no_false_alarm(backend, runs, capsys):
    """512 correct models, heads of one and two classes among them."""
    jobs, results = suite.clean_jobs(), runs.clean(backend)
    assert len(jobs) >= 500
    judged = {job.key: runs.verdicts(job, results) for job in jobs}
    verdicts = [verdict for found in judged.values() for verdict in found]
    alarms = [key for key, found in judged.items() if not all(v.passed for v in found)]
    largest = max(verdict.rms for verdict in verdicts)
    with capsys.disabled():
        print(
            f"\n{backend}: {len(alarms)} false alarms in {len(jobs)} pairs, "
            f"{len(verdicts)} verdicts, largest ratio {largest:.2f}"
        )
    assert not alarms
