"""Activations by name, each with its approximation stated."""

import math

import keras
from keras import ops


def gelu(x):
    """Exact GELU, x Phi(x) with the error function (Hendrycks and Gimpel, 2016).

    Written with `erf`: TensorFlow's own uses `erfc` with a constant rounded to
    float32, which spoils float64 and breaks ONNX export. Computed in float32 or
    better, as torch does inside.
    """
    if keras.backend.backend() == "torch":
        return ops.gelu(x, approximate=False)
    dtype = keras.backend.standardize_dtype(x.dtype)
    y = x if dtype == "float64" else ops.cast(x, "float32")
    y = 0.5 * y * (1.0 + ops.erf(y * math.sqrt(0.5)))
    return ops.cast(y, dtype)


def gelu_tanh(x):
    """GELU in the tanh approximation (same paper; JAX' and TensorFlow's default).

    Written out for the same reason: TensorFlow's constants are rounded to float32.
    """
    if keras.backend.backend() == "torch":
        return ops.gelu(x, approximate=True)
    dtype = keras.backend.standardize_dtype(x.dtype)
    y = x if dtype == "float64" else ops.cast(x, "float32")
    inner = math.sqrt(2.0 / math.pi) * (y + 0.044715 * y * y * y)
    return ops.cast(0.5 * y * (1.0 + ops.tanh(inner)), dtype)


def quick_gelu(x):
    """Sigmoid GELU, x sigmoid(1.702 x), as OpenAI CLIP has it."""
    return x * ops.sigmoid(1.702 * x)


def silu(x):
    """Swish, x sigmoid(x)."""
    return ops.silu(x)


def relu(x):
    """Rectifier, max(x, 0)."""
    return ops.relu(x)


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "silu": silu,
    "relu": relu,
}
