"""Where a process computes, and what sets its arithmetic.

On CUDA: no TF32, deterministic algorithms, one attention kernel in torch, memory taken
as it is needed. On the CPU the libraries' defaults, threads included. What the
environment can say must be there before a framework is imported (`environment`, for the
process that starts another); the rest is set in the process itself (`settle`).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

DEVICES = ("cpu", "cuda")

UNAVAILABLE = 69
"""Exit code of a process that cannot compute what was asked (EX_UNAVAILABLE)."""

_SEED = 0


class UnavailableError(RuntimeError):
    """This machine, or this library, cannot compute what was asked; why, in words."""


def environment(device: str) -> dict[str, str]:
    """What the environment of a process must say.

    Args:
        device: `"cpu"` or `"cuda"`.

    Raises:
        ValueError: If it is neither.
    """
    if device not in DEVICES:
        raise ValueError(f"device {device!r}; known are {', '.join(DEVICES)}")
    if device == "cpu":
        return {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    flags = os.environ.get("XLA_FLAGS", "").split()
    return {
        "NVIDIA_TF32_OVERRIDE": "0",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic products, in torch
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_PLATFORMS": "",  # JAX' own choice: a GPU, if it sees one
        "XLA_FLAGS": " ".join([*flags, "--xla_gpu_deterministic_ops=true"]),
    }


def device_of(cases: Iterable[dict[str, Any]]) -> str:
    """The one device that all cases of a process name; the CPU if none does.

    Raises:
        ValueError: If they name several, or an unknown one.
    """
    found = {case.get("device", "cpu") for case in cases} or {"cpu"}
    if len(found) > 1:
        raise ValueError(f"one process, several devices: {sorted(found)}")
    device: str = found.pop()
    environment(device)
    return device


def settle(framework: str, device: str) -> None:
    """Sets what the environment cannot say, before anything is computed.

    Args:
        framework: `"torch"`, `"tensorflow"` or `"jax"`, which gets imported.
        device: `"cpu"` or `"cuda"`.

    Raises:
        UnavailableError: If the framework sees no such device.
    """
    if device == "cpu":
        return
    if not _SEES_CUDA[framework]():
        raise UnavailableError(f"{framework} sees no CUDA device")
    _EXACT[framework]()


def _torch_sees() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _tensorflow_sees() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _jax_sees() -> bool:
    import jax

    return bool(jax.default_backend() == "gpu")


def _exact_torch() -> None:
    import torch

    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    # The math kernel alone: both twins then sum in the same order.
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def _exact_tensorflow() -> None:
    import keras
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(_SEED)  # demanded by the line before


def _exact_jax() -> None:
    import jax

    config: Any = jax.config
    config.update("jax_default_matmul_precision", "highest")


_SEES_CUDA: dict[str, Callable[[], bool]] = {
    "torch": _torch_sees,
    "tensorflow": _tensorflow_sees,
    "jax": _jax_sees,
}
_EXACT: dict[str, Callable[[], None]] = {
    "torch": _exact_torch,
    "tensorflow": _exact_tensorflow,
    "jax": _exact_jax,
}


def check_dtype(framework: str, dtype: str) -> None:
    """Whether Keras can compute in a type on that backend.

    Raises:
        UnavailableError: If it cannot.
    """
    if dtype == "float64" and framework != "tensorflow":
        # Its table of result types turns float64 into float32 there (Keras 3.15.1,
        # `keras.src.backend.common.dtypes`), whatever the layers' own type is.
        raise UnavailableError(
            f"Keras on {framework} computes float64 partly in float32; use tensorflow"
        )


def flags(framework: str, device: str) -> dict[str, str]:
    """What sets the arithmetic of this process, by name; all text."""
    found: dict[str, Any] = {"device": device, "cpus": _cpus()}
    found |= _FLAGS[framework]()
    if device == "cpu":
        found["TF32"] = False  # a GPU's
    for name in ("OMP_NUM_THREADS", "NVIDIA_TF32_OVERRIDE", "XLA_FLAGS"):
        if os.environ.get(name):
            found[name] = os.environ[name]
    return {name: str(value) for name, value in found.items()}


def _cpus() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _torch_flags() -> dict[str, Any]:
    import torch

    backends: Any = torch.backends
    return {
        "threads": torch.get_num_threads(),
        "interop threads": torch.get_num_interop_threads(),
        "cpu capability": backends.cpu.get_cpu_capability(),
        "oneDNN": backends.mkldnn.is_available() and backends.mkldnn.enabled,
        "TF32": backends.cuda.matmul.allow_tf32 or backends.cudnn.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _tensorflow_flags() -> dict[str, Any]:
    import tensorflow as tf

    threading, experimental = tf.config.threading, tf.config.experimental
    return {
        "threads": threading.get_intra_op_parallelism_threads() or "default",
        "interop threads": threading.get_inter_op_parallelism_threads() or "default",
        "oneDNN": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        "TF32": experimental.tensor_float_32_execution_enabled(),
        "deterministic": _tensorflow_determinism(),
    }


def _tensorflow_determinism() -> bool:
    from tensorflow.python.framework import config

    return bool(config.is_op_determinism_enabled())


def _jax_flags() -> dict[str, Any]:
    import jax

    config: Any = jax.config
    precision = config.jax_default_matmul_precision
    return {
        "threads": "default",
        "platform": jax.default_backend(),
        "matmul precision": precision or "default",
        "TF32": jax.default_backend() == "gpu" and precision != "highest",
        "x64": config.jax_enable_x64,
    }


_FLAGS: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": _torch_flags,
    "tensorflow": _tensorflow_flags,
    "jax": _jax_flags,
}


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of installed packages, by name."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
