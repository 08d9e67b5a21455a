"""The Keras worker with one mistake in it, run in its place with the same JOB.

The exact GELU becomes its tanh approximation, which moves an output by 1e-4 or so.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras

from converters.workers import worker
from keras_vit import activations


def tanh_gelu(x):
    return keras.ops.gelu(x, approximate=True)


if __name__ == "__main__":
    activations.ACTIVATIONS["gelu"] = tanh_gelu
    worker.main(Path(sys.argv[1]))
