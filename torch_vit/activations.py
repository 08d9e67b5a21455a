"""Activations by name, each with its approximation stated."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def gelu(x: Tensor) -> Tensor:
    """Exact GELU, x Phi(x) with the error function (Hendrycks and Gimpel, 2016)."""
    return F.gelu(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU in the tanh approximation (same paper; JAX' and TensorFlow's default)."""
    return F.gelu(x, approximate="tanh")


def quick_gelu(x: Tensor) -> Tensor:
    """Sigmoid GELU, x sigmoid(1.702 x), as OpenAI CLIP has it."""
    return x * torch.sigmoid(1.702 * x)


def silu(x: Tensor) -> Tensor:
    """Swish, x sigmoid(x)."""
    return F.silu(x)


def relu(x: Tensor) -> Tensor:
    """Rectifier, max(x, 0)."""
    return F.relu(x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "silu": silu,
    "relu": relu,
}
