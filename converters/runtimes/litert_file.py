"""A LiteRT file, run by its interpreter."""

from __future__ import annotations

import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from converters.runtimes.base import FACTS, Array, channels_last, read_facts


def inside(path: Path) -> bytes:
    """The facts in a file, as JSON; empty if there are none."""
    if not zipfile.is_zipfile(path):
        return b""
    with zipfile.ZipFile(path) as archive:
        return archive.read(FACTS) if FACTS in archive.namelist() else b""


class LitertFile:
    """The model of a `.tflite`, on the CPU.

    Args:
        path: The file.

    Attributes:
        facts: What it says of itself.
        versions: LiteRT's.
    """

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=str(path))
        self._run = self._interpreter.get_signature_runner()
        (self._input,) = self._run.get_input_details()
        self.facts = read_facts(inside(path))
        self.versions = {"ai-edge-litert": version("ai-edge-litert")}

    def outputs(self, x: Array) -> dict[str, Array]:
        """Every named output for prepared inputs (B, C, *spatial)."""
        found = self._run(**{self._input: channels_last(x)})
        return {name: np.array(value) for name, value in found.items()}
