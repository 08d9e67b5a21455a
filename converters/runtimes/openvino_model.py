"""A model of OpenVINO, run by OpenVINO."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

from converters.runtimes.base import FACTS, Array, read_facts
from converters.runtimes.saved_model import version_of

MARKER = "model.xml"
"""What makes a folder one of these."""


_TELLS = "openvino_telemetry"


def load_openvino() -> ModuleType:
    """Imports OpenVINO so that it tells nobody.

    By itself it sends an event to its makers when it is imported, wherever
    openvino-telemetry is installed, which comes with it, and the user has not run
    `opt_in_out --opt_out`. Without that package it goes on without.
    """
    hidden = "openvino" not in sys.modules and _TELLS not in sys.modules
    if hidden:
        sys.modules[_TELLS] = None  # type: ignore[assignment]  # cannot be imported
    try:
        return import_module("openvino")
    finally:
        if hidden:
            del sys.modules[_TELLS]


def facts_of(path: Path) -> bytes:
    """The facts beside a model, as JSON; empty if there are none.

    Raises:
        FileNotFoundError: If there is no model.
    """
    folder = version_of(path, MARKER)
    if folder is None:
        raise FileNotFoundError(2, f"no {MARKER} in it")
    facts = folder / "assets" / FACTS
    return facts.read_bytes() if facts.exists() else b""


class OpenVinoModel:
    """The model of a folder `DST/1`, on the CPU.

    Args:
        path: `DST`, the folder that holds versions; or a version itself.

    Attributes:
        facts: What it says of itself.
        versions: OpenVINO's.
    """

    def __init__(self, path: Path) -> None:
        openvino = load_openvino()
        folder = version_of(path, MARKER) or path
        # By itself it computes in bfloat16 on processors that have it.
        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        self._compiled = openvino.Core().compile_model(folder / MARKER, "CPU", exact)
        self._outputs = [one.get_any_name() for one in self._compiled.outputs]
        self.facts = read_facts(facts_of(path))
        # 2026.4.1-22982-abcdef-releases/2026/4
        self.versions = {"openvino": str(openvino.__version__).partition("-")[0]}

    def outputs(self, x: Array) -> dict[str, Array]:
        """Every named output for prepared inputs (B, C, *spatial)."""
        found = self._compiled(x)
        return {name: np.array(found[name]) for name in self._outputs}
