"""Which paths are exported artifacts, and what they say of themselves.

Nothing is run for it, and no framework imported; an ONNX file needs onnx.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from converters.runtimes import openvino_model, saved_model
from converters.runtimes.base import FACTS, read_facts
from converters.runtimes.litert_file import inside
from converters.runtimes.saved_model import version_of

MARKERS = {"saved_model": saved_model.MARKER, "openvino": openvino_model.MARKER}
"""Of the formats that are a folder of versions: a file that each version has."""

SUFFIXES = {".onnx": "onnx", ".tflite": "litert", ".pt2": "torch"}

NAMED = {**SUFFIXES, ".pb": "saved_model", ".xml": "openvino"}
"""What the name of a file says that somebody wants; of the last two a folder is."""

NAMES = {
    "saved_model": "SavedModel",
    "onnx": "ONNX",
    "litert": "LiteRT",
    "torch": "torch.export",
    "openvino": "OpenVINO",
}
"""What the formats are called."""

EXTRAS = {
    "saved_model": {"tensorflow": "keras"},
    "onnx": {"onnx": "onnx", "onnxruntime": "onnx"},
    "litert": {"ai_edge_litert": "litert"},
    "torch": {"torch": "torch"},
    "openvino": {"openvino": "openvino"},
}
"""Modules that run a format, each with the extra that brings it."""


def kind_of(path: Path) -> str:
    """The format of an exported artifact; empty if it is none."""
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix]
    found = (kind for kind, name in MARKERS.items() if version_of(path, name))
    return next(found, "")


def meant(target: Path) -> str:
    """The format that is meant by the name of something to write; empty if none is.

    Args:
        target: A file that need not be there, or a folder, which says it by what it
            holds.
    """
    return NAMED.get(target.suffix.lower()) or kind_of(target)


def facts_in(path: Path, kind: str) -> dict[str, Any]:
    """What an artifact says of itself; empty if `export` did not write it.

    Args:
        path: The file or folder.
        kind: Its format.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged.
    """
    if kind == "saved_model":
        folder = version_of(path)
        if folder is None:
            raise FileNotFoundError(2, "no saved_model.pb in it")
        facts = folder / "assets" / FACTS
        return read_facts(facts.read_bytes() if facts.exists() else "")
    if kind == "openvino":
        return read_facts(openvino_model.facts_of(path))
    if kind == "litert":
        return read_facts(inside(path))
    if kind == "torch":
        return read_facts(_of_torch(path))
    return read_facts(_of_onnx(path))


def _of_torch(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith(f"/extra/{FACTS}")]
            return archive.read(names[0]) if names else b""
    except zipfile.BadZipFile:
        raise ValueError("no program of torch.export") from None


def _of_onnx(path: Path) -> str:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:
        raise ValueError("no ONNX model") from None
    inside = {one.key: one.value for one in model.metadata_props}
    return str(inside.get(FACTS, ""))
