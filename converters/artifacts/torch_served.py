"""The torch twin as artifacts call it: all named outputs at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from converters.artifacts.contents import Contents
from converters.workers.reference import load

if TYPE_CHECKING:
    import torch

EXAMPLES = 2
"""Inputs that the model is traced with; a batch of one would be taken as fixed."""


def served(model: Path, contents: Contents) -> torch.nn.Module:
    """A module whose result is a dict of all named outputs, in their order.

    Args:
        model: A canonical file.
        contents: What the artifact is to hold.
    """
    import torch

    class Served(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vit = load(model, contents.config.to_dict())

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            found = {}
            tokens = self.vit.forward_features(x)
            if contents.head:
                found[contents.head] = self.vit.forward_head(tokens)
            if contents.probabilities == "softmax":
                found["probabilities"] = found[contents.head].softmax(-1)
            if contents.probabilities == "sigmoid":
                found["probabilities"] = found[contents.head].sigmoid()
            if contents.embedding:
                found["embedding"] = self.vit.forward_head(tokens, pre_logits=True)
            if contents.all_tokens:
                found["tokens"] = tokens
            return found

    return Served().eval()


def program(model: Path, contents: Contents) -> torch.export.ExportedProgram:
    """The model traced for any size of batch, without the paths of our files.

    Args:
        model: A canonical file.
        contents: What the artifact is to hold.
    """
    import torch

    module = served(model, contents)
    batch = torch.export.Dim("batch", min=1)
    x = torch.zeros(EXAMPLES, *contents.input_shape)
    with torch.no_grad():
        found = torch.export.export(module, (x,), dynamic_shapes=({0: batch},))
    for node in found.graph.nodes:
        node.meta.pop("stack_trace", None)  # machine paths
    return found
