"""An exported program, run by PyTorch alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converters.runtimes.base import FACTS, Array, read_facts


class TorchFile:
    """The model of a `.pt2`, on the CPU.

    Args:
        path: The file.

    Attributes:
        facts: What it says of itself.
        versions: PyTorch's.
    """

    def __init__(self, path: Path) -> None:
        import torch

        inside = {FACTS: ""}
        program = torch.export.load(path, extra_files=inside)
        self._model = program.module()
        self.facts = read_facts(inside[FACTS])
        self.versions = {"torch": str(torch.__version__)}

    def outputs(self, x: Array) -> dict[str, Array]:
        """Every named output for prepared inputs (B, C, *spatial)."""
        import torch

        with torch.no_grad():
            found = self._model(torch.from_numpy(x))
        return {name: np.asarray(value) for name, value in found.items()}
