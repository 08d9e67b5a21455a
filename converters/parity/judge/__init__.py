"""Turns what the processes said into checks, by the RMS rule and the criteria."""

from __future__ import annotations

from converters.parity.judge.gradients import Gradients
from converters.parity.judge.layers import Layers
from converters.parity.judge.outputs import Outputs
from converters.parity.judge.training import Training

__all__ = ["Judge"]


class Judge(Outputs, Layers, Gradients, Training):
    """Holds one subject against the reference, on every level."""
