"""Keras on the torch backend against `torch_vit`: the same bits.

Outputs, features, intermediates, attention maps, every tap, the gradients of every
weight and of the input, with fused and explicit attention. What is not, if anything,
stands in `exceptions.json`.
"""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

from tests.cases import CASES
from tests.parity import suite
from tests.parity.protocol import EVERYTHING, KINDS, Job
from tests.saving.backends import backend_param
from vit_config import ViTConfig

pytest.importorskip("torch")

FIELDS = ("flag", "operation", "outputs", "difference", "cause")
TABLE = json.loads(Path(__file__).with_name("exceptions.json").read_text("utf-8"))
EXCEPTIONS = TABLE["exceptions"]

torch_backend = pytest.mark.parametrize("backend", [backend_param("torch")])
devices = pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
)
slow = pytest.mark.slow


def applies(exception: dict, config: ViTConfig, name: str) -> bool:
    """Whether an entry of the table speaks about an output of a model."""
    has_flag = all(
        getattr(config, field) == value for field, value in exception["flag"].items()
    )
    return has_flag and any(fnmatch(name, pattern) for pattern in exception["outputs"])


def different(job: Job, runs, results, device: str) -> dict[str, float]:
    return suite.unequal(results.of(job.key), runs.reference(job, device))


def unexplained(job: Job, found: dict[str, float]) -> list[str]:
    """Differences that no entry allows, or that are larger than measured."""
    return [
        f"{job.key} {name}: {difference:.3g}"
        for name, difference in found.items()
        if not any(
            applies(exception, job.config, name)
            and difference <= exception["difference"]
            for exception in EXCEPTIONS
        )
    ]


@devices
@torch_backend
@pytest.mark.parametrize("case", CASES)
def test_same_bits(case, backend, device, runs):
    results = runs.default(backend, device)
    for job in suite.bit_jobs(case):
        assert not unexplained(job, different(job, runs, results, device))


@slow
@devices
@torch_backend
@pytest.mark.parametrize("case", CASES)
def test_same_bits_in_all_combinations(case, backend, device, runs):
    results = runs.slow(backend, device)
    for job in suite.all_bit_jobs(case):
        assert not unexplained(job, different(job, runs, results, device))


@torch_backend
def test_every_exception_is_needed(backend, runs):
    for exception in EXCEPTIONS:
        assert set(exception) == set(FIELDS)
        used = any(
            applies(exception, job.config, name)
            for case in CASES
            for job in suite.bit_jobs(case)
            for name in different(job, runs, runs.default(backend), "cpu")
        )
        assert used, f"no longer needed: {exception}"


def test_an_exception_covers_its_own_outputs_only():
    config = CASES["dual_norm"]
    entry = {"flag": {"patch_norm": "dual"}, "outputs": ["grad.*"], "difference": 1e-6}
    assert applies(entry, config, "grad.input")
    assert not applies(entry, config, "output")
    assert not applies(entry, CASES["vit"], "grad.input")


def test_comparison_is_of_bits():
    zero, other = np.zeros(3, np.float32), np.zeros(3, np.float32)
    other[1] = -0.0
    assert suite.unequal({"x": zero}, {"x": zero.copy()}) == {}
    assert suite.unequal({"x": other}, {"x": zero}) == {"x": 0.0}
    with pytest.raises(ValueError, match="float64"):
        suite.unequal({"x": zero.astype(np.float64)}, {"x": zero})
    with pytest.raises(ValueError, match="one side only"):
        suite.unequal({}, {"x": zero})


def test_jobs_look_at_everything():
    """Every group of outputs, kind of input and batch size, in either attention."""
    jobs = [job for case in CASES for job in suite.bit_jobs(case)]
    assert {name for job in jobs for name in job.names} >= set(EVERYTHING)
    assert {job.kind for job in jobs} == set(KINDS)
    assert {job.batch for job in jobs} == {1, 3}
    assert {(j.impl, suite.GRADIENTS in j.names) for j in jobs} >= {
        ("fused", True),
        ("explicit", True),
    }
