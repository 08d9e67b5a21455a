"""Where a process computes; what it sets and tells."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from converters.workers import device
from converters.workers.device import UnavailableError
from converters.workers.process import (
    KERAS_WORKER,
    ProcessError,
    UnavailableProcessError,
    started,
    write_job,
)
from tests.laboratory.lab import REFERENCE

FOUND = ("torch", "tensorflow", "jax")


def test_the_cpu_hides_every_gpu():
    assert device.environment("cpu") == {
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
    }


def test_cuda_is_exact_and_takes_memory_as_needed(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    found = device.environment("cuda")
    assert found["NVIDIA_TF32_OVERRIDE"] == "0"
    assert found["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert found["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert found["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert found["XLA_FLAGS"].split() == [
        "--xla_dump_to=x",
        "--xla_gpu_deterministic_ops=true",
    ]
    assert "CUDA_VISIBLE_DEVICES" not in found  # which of them is the user's choice


def test_a_process_has_one_known_device():
    assert device.device_of([]) == device.device_of([{}, {"device": "cpu"}]) == "cpu"
    assert device.device_of([{"device": "cuda"}] * 2) == "cuda"
    with pytest.raises(ValueError, match=r"\['cpu', 'cuda'\]"):
        device.device_of([{}, {"device": "cuda"}])
    with pytest.raises(ValueError, match="device 'tpu'; known are cpu, cuda"):
        device.device_of([{"device": "tpu"}])


@pytest.mark.parametrize("framework", FOUND)
def test_nothing_is_set_before_the_device_is_seen(framework, monkeypatch):
    """Each framework by itself: seen, then set; not seen, one line and nothing set."""
    done = []
    monkeypatch.setitem(device._EXACT, framework, lambda: done.append(framework))
    monkeypatch.setitem(device._SEES_CUDA, framework, lambda: False)
    device.settle(framework, "cpu")
    with pytest.raises(UnavailableError, match=f"^{framework} sees no CUDA device$"):
        device.settle(framework, "cuda")
    assert not done
    monkeypatch.setitem(device._SEES_CUDA, framework, lambda: True)
    device.settle(framework, "cuda")
    assert done == [framework]


@pytest.fixture
def torch_as_it_was():
    torch = pytest.importorskip("torch")
    matmul, cudnn, cuda = torch.backends.cuda.matmul, torch.backends.cudnn, None
    cuda = torch.backends.cuda
    before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark)
    kernels = (
        cuda.flash_sdp_enabled(),
        cuda.mem_efficient_sdp_enabled(),
        cuda.cudnn_sdp_enabled(),
    )
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield torch
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
    cuda.enable_flash_sdp(kernels[0])
    cuda.enable_mem_efficient_sdp(kernels[1])
    cuda.enable_cudnn_sdp(kernels[2])
    torch.use_deterministic_algorithms(deterministic)


def test_what_is_set_in_torch(torch_as_it_was, monkeypatch):
    torch = torch_as_it_was
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    assert device.flags("torch", "cuda")["TF32"] == "True"
    assert device.flags("torch", "cpu")["TF32"] == "False"
    monkeypatch.setitem(device._SEES_CUDA, "torch", lambda: True)
    device.settle("torch", "cuda")
    found = device.flags("torch", "cuda")
    assert found["TF32"] == "False" and found["deterministic"] == "True"
    assert not torch.backends.cudnn.benchmark
    cuda = torch.backends.cuda
    assert not cuda.flash_sdp_enabled() and not cuda.mem_efficient_sdp_enabled()
    assert not cuda.cudnn_sdp_enabled() and cuda.math_sdp_enabled()


def test_float64_where_keras_has_it():
    device.check_dtype("tensorflow", "float64")
    for backend in ("torch", "jax"):
        device.check_dtype(backend, "bfloat16")
        with pytest.raises(UnavailableError, match=f"Keras on {backend}.*tensorflow"):
            device.check_dtype(backend, "float64")


@pytest.mark.parametrize("python", [None, Path(sys.executable)])
def test_a_process_without_the_device_says_so_in_one_line(python, tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    job = write_job(tmp_path / "job.json", [{"device": "cuda", "model": "none"}])
    with (
        pytest.raises(UnavailableProcessError) as error,
        started(REFERENCE, job, "PyTorch", "torch", "cuda", python) as worker,
    ):
        worker.wait(300)
    assert str(error.value) == "PyTorch: torch sees no CUDA device"
    assert isinstance(error.value, ProcessError)
    if python is not None:
        found = {path.name for path in (tmp_path / "packages").iterdir()}
        assert found == {"vit_config", "torch_vit", "keras_vit", "converters"}


def test_an_interpreter_that_is_none(tmp_path):
    job = write_job(tmp_path / "job.json", [])
    with (
        pytest.raises(
            ProcessError, match=r"^Keras: .*none cannot be run: No such file"
        ),
        started(KERAS_WORKER, job, "Keras", "torch", python=tmp_path / "none"),
    ):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("backend", FOUND)
def test_keras_without_the_device_says_so_in_one_line(backend, tmp_path):
    if not find_spec("keras") or not find_spec(backend):
        pytest.skip(f"keras or {backend} is not installed")
    job = write_job(tmp_path / "job.json", [{"device": "cuda", "model": "none"}])
    with (
        pytest.raises(UnavailableProcessError) as error,
        started(KERAS_WORKER, job, "Keras", backend, "cuda") as worker,
    ):
        worker.wait(300)
    assert str(error.value) == f"Keras: {backend} sees no CUDA device"
