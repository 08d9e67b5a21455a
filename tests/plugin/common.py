"""Runs pytest with the plugin, as other people's projects do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

# In-process runs forget what they imported, and numpy cannot be imported twice.
from tests.laboratory.common import FLAT, Weights, save

QKV = "blocks.1.attn.qkv.weight"

Run = Callable[..., pytest.RunResult]


def other_row(weights: Weights) -> None:
    weights[QKV][3] *= -1


def checkpoint(folder: Path, name: str = "vit.safetensors", **fields: object) -> Path:
    return save(folder / name, FLAT.replace(**fields))


def outcomes(result: pytest.RunResult) -> dict[str, str]:
    """Outcome by node id, of a run with -v."""
    lines = [line.split() for line in result.outlines if "::" in line]
    words = ("PASSED", "FAILED", "SKIPPED", "ERROR")
    return {line[0]: line[1] for line in lines if len(line) > 1 and line[1] in words}


def plain(text: str) -> str:
    return " ".join(text.split())
