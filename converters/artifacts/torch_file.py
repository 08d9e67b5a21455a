"""`.pt2`: the torch twin, traced by `torch.export`."""

from __future__ import annotations

from pathlib import Path

from converters.artifacts.contents import Contents
from converters.artifacts.torch_served import program
from converters.runtimes.base import CONFIG, FACTS, LABELS


def write(target: Path, model: Path, contents: Contents) -> None:
    """Writes a program of any batch size that PyTorch alone loads.

    Args:
        target: The file.
        model: A canonical file.
        contents: What it is to hold.
    """
    import torch

    inside = {FACTS: contents.facts_json(), CONFIG: contents.config.to_json()}
    if contents.config.labels is not None:
        inside[LABELS] = contents.label_lines()
    torch.export.save(program(model, contents), target, extra_files=inside)
