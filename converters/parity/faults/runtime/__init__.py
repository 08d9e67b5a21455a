"""The file is right, and the Keras model in memory is not, or its code.

Done to a `keras_vit.ViT` after loading, in its process, and taken back afterwards. What
is in the code is changed as deep in the model as it goes, in the layer that computes
it: so it shows in a single layer as well as in the whole.
"""

from __future__ import annotations

from converters.parity.faults.base import Fault
from converters.parity.faults.runtime import (
    dropout,
    inputs,
    layers,
    memory,
    tokens,
    wiring,
)
from converters.parity.faults.runtime.base import BLOCK

__all__ = ["BLOCK", "RUNTIME"]

RUNTIME: tuple[Fault, ...] = (
    *layers.faults(),
    *dropout.faults(),
    *memory.faults(),
    *inputs.faults(),
    *tokens.faults(),
    *wiring.faults(),
)
"""All of them."""
