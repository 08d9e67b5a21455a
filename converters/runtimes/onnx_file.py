"""An ONNX file, run by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converters.runtimes.base import FACTS, Array, read_facts


class OnnxFile:
    """The model of an `.onnx`, on the CPU.

    Args:
        path: The file.

    Attributes:
        facts: What it says of itself.
        versions: onnxruntime's.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(
            str(path), providers=["CPUExecutionProvider"]
        )
        (self._input,) = (one.name for one in self._session.get_inputs())
        self._outputs = [one.name for one in self._session.get_outputs()]
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.facts = read_facts(metadata.get(FACTS, ""))
        self.versions = {"onnxruntime": str(onnxruntime.__version__)}

    def outputs(self, x: Array) -> dict[str, Array]:
        """Every named output for prepared inputs (B, C, *spatial)."""
        found = self._session.run(self._outputs, {self._input: x})
        return dict(zip(self._outputs, map(np.asarray, found), strict=True))
