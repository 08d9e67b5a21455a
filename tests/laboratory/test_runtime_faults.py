"""Runtime faults in a real Keras model: each takes effect in its place, and leaves.

In a process of its own, as Keras' backend is fixed when it is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.conversion.convert import read_checked
from converters.files import write
from converters.mapping.pipe import MemorySource, sha256
from converters.parity.faults import BASES, FAULTS, base_model, faults_of
from converters.parity.faults.runtime import BLOCK
from converters.workers.fill import image
from converters.workers.process import KERAS_WORKER, read_answer, started, write_job
from tests.saving.backends import backend_param
from vit_config.weights import weight_table

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 3600

BEGINS: dict[str, str] = {
    "attention": f"blocks.{BLOCK}.attn.heads",
    "activation": f"blocks.{BLOCK}.mlp.act",
    "input": "patch_embed",
    "runtime/patches backwards": "patch_embed",
    "runtime/patches column-major": "patch_embed",
    "tokens": "pos_embed",
    "runtime/no residual around attn": f"blocks.{BLOCK}.residual1",
    "runtime/no attn": f"blocks.{BLOCK}.residual1",
    "runtime/no residual around mlp": f"blocks.{BLOCK}.residual2",
    "runtime/no mlp": f"blocks.{BLOCK}.residual2",
    "runtime/no final norm": "norm",
    "runtime/pooled over other tokens": "pool",
    "runtime/mean for token": "pool",
    "runtime/no head_act": "head",
    "runtime/one head twice": "head",
}
"""The first tap that a fault of the code changes, by name or by family."""

BACKENDS = [
    backend_param("torch", marks=(pytest.mark.slow,)),
    backend_param("tensorflow", marks=(pytest.mark.slow,)),
    backend_param("jax", marks=(pytest.mark.slow,)),
]


def child(module: str, backend: str, out: Path) -> dict[str, Any]:
    env = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
    env |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.alone", module, str(out)],
        cwd=ROOT,
        env=env | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(out.read_text("utf-8"))
    assert found["backend"] == backend
    return found["bases"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_runtime_faults_take_effect_in_their_place_and_leave(backend, tmp_path):
    found = child("tests.laboratory.runtime_child", backend, tmp_path / "found.json")
    assert found.keys() == BASES.keys()
    for base, config in BASES.items():
        assert not found[base]["left"], base
        faults = found[base]["faults"]
        assert list(faults) == [f.name for f in faults_of(config, "runtime")]
        for name, said in faults.items():
            check(base, name, said["differs"])
            assert not said.get("varies"), f"{base}: {name} is another one every time"


def check(base: str, name: str, differs: list[str]) -> None:
    fault, config = FAULTS[name], BASES[base]
    weights = [entry for entry in differs if entry.startswith("weight ")]
    first = next(entry for entry in differs if entry not in weights)
    if fault.family == "weights in memory":
        (tensor,) = fault.tensors
        paths = {weight.name: weight.path for weight in weight_table(config)}
        assert weights == [f"weight {paths[tensor]}"], name
        return
    assert not weights, f"{name}: changes weights, and not the code"
    begins = BEGINS.get(name) or BEGINS.get(fault.family)
    if fault.family == "epsilon":
        begins = name.rpartition("/")[2]
    if fault.family == "dropout":
        assert first.startswith("blocks."), f"{name}: begins at {first}"
        return
    assert first == begins, f"{base}: {name}"
    assert "output" in differs, name


@pytest.mark.parametrize("backend", [backend_param("torch")])
def test_the_worker_does_the_fault_that_a_case_names(backend, tmp_path):
    """In that case only: each has a model of its own."""
    model = base_model("3D features")
    write(tmp_path / "a.keras", "keras", MemorySource(model.tensors), model.config)
    shape = (2, model.config.in_chans, *model.config.img_size)
    np.save(tmp_path / "x.npy", image(shape))
    names = ["", "runtime/no final norm", "runtime/zeroed/norm.bias", ""]
    cases = [
        {
            **{"model": str(tmp_path / "a.keras"), "inputs": "x.npy", "fault": name},
            **{"answers": f"{i}.npz", "weights": True},
        }
        for i, name in enumerate(names)
    ]
    job = write_job(tmp_path / "job.json", cases)
    with started(KERAS_WORKER, job, "Keras", backend) as worker:
        said = worker.wait(LIMIT_S)["cases"]
    pairs = zip(cases, said, strict=True)
    outputs = [read_answer(tmp_path, *pair).outputs for pair in pairs]
    assert outputs[0].tobytes() == outputs[3].tobytes()
    assert np.abs(outputs[1] - outputs[0]).max() > 0.1
    assert np.abs(outputs[2] - outputs[0]).max() > 0.1
    clean = {name: sha256(values) for name, values in model.tensors.items()}
    assert said[0]["digests"] == said[1]["digests"] == said[3]["digests"] == clean
    faulty = said[2]["digests"]
    assert [n for n in clean if faulty[n] != clean[n]] == ["norm.bias"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", [backend_param("torch")])
def test_keras_loads_every_flipped_flag(backend, tmp_path):
    """As a `.keras` that the package writes, with the guard of the twin."""
    for index, (base, config) in enumerate(BASES.items()):
        for number, fault in enumerate(faults_of(config, "file")):
            if fault.family != "schema flag":
                continue
            model = fault.of(base_model(base))
            path = tmp_path / f"{index}-{number}.keras"
            write(path, "keras", MemorySource(model.tensors), model.config)
            with read_checked(path) as checked:
                assert checked.config == model.config
                for name, (_, _, digest) in checked.digests.items():
                    assert digest == sha256(model.tensors[name]), (fault.name, name)
    child("tests.laboratory.loading_child", backend, tmp_path / "loaded.json")
