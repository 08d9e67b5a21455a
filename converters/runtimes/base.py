"""Runs an exported artifact by its own runtime, without our models and without Keras.

Every format has one class with the same few members (`Artifact`). What an artifact says
of itself is inside it: `converters.artifacts.contents.Contents.facts`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FACTS = "vit_duet.json"
CONFIG = "config.json"
LABELS = "labels.txt"
"""Names of what artifacts carry inside."""

_CLASSES = {
    "saved_model": ("saved_model", "SavedModel"),
    "onnx": ("onnx_file", "OnnxFile"),
    "litert": ("litert_file", "LitertFile"),
    "torch": ("torch_file", "TorchFile"),
    "openvino": ("openvino_model", "OpenVinoModel"),
}


class Artifact(Protocol):
    """An exported model, loaded.

    Attributes:
        facts: What it says of itself; empty if it is none that `export` wrote.
        versions: What runs it.
    """

    facts: Mapping[str, Any]
    versions: Mapping[str, str]

    def outputs(self, x: Array) -> dict[str, Array]:
        """Every named output for prepared inputs.

        Args:
            x: (B, C, *spatial), float32: torch's layout, whatever the artifact's own.
        """


def open_artifact(path: Path, kind: str) -> Artifact:
    """Loads an artifact.

    Args:
        path: The file or folder.
        kind: Its format: a key of `_CLASSES`.
    """
    module, name = _CLASSES[kind]
    found: Artifact = getattr(import_module(f"{__package__}.{module}"), name)(path)
    return found


def read_facts(text: str | bytes) -> dict[str, Any]:
    """What an artifact says of itself, from its JSON; nothing if it holds none."""
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def channels_last(x: Array) -> Array:
    """(B, C, *spatial) -> (B, *spatial, C), contiguous."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))
