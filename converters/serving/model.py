"""An exported artifact as a server calls it: signatures by name, arrays in and out."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from converters.errors import refusal
from converters.runtimes.base import Array, open_artifact
from converters.runtimes.known import EXTRAS, MARKERS, NAMES, kind_of
from converters.runtimes.saved_model import SavedModel, version_of
from converters.workers.process import require

STRING = "string"
_AXES_LAST = "litert"
_SPOKEN = re.compile(r"\{\{.*?\}\}\s*")
_PLACES = ("Graph execution error", "Detected at node", "<stack traces", "[[")
_FAILED = "assertion failed: "


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output.

    Attributes:
        dtype: numpy's name of the type, or `"string"`.
        shape: Its axes, -1 where free; None if even their number is.
    """

    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call a model: its inputs and outputs by name."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


class CallError(Exception):
    """A model that does not take what it was given.

    Attributes:
        fault: Whether the caller's input is to blame.
    """

    def __init__(self, message: str, fault: bool) -> None:
        super().__init__(message)
        self.fault = fault


class Model(Protocol):
    """What can be served.

    Attributes:
        name: What it is called in URLs.
        version: Its number.
        signatures: Every way to call it.
        facts: What it says of itself.
    """

    name: str
    version: str
    signatures: Mapping[str, Signature]
    facts: Mapping[str, Any]

    def call(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Every output of a signature; of strings, arrays of bytes.

        Raises:
            CallError: If it fails.
        """


class ServedArtifact:
    """A file or folder that `export` wrote, or any SavedModel.

    One call at a time: LiteRT's interpreter has one state, and a call takes all cores.

    Args:
        path: The file or folder.
        name: What to call it; by default after the file or folder.

    Attributes:
        name: What it is called in URLs.
        version: Its number: of a folder of versions that of the one.
        signatures: Every way to call it.
        facts: What it says of itself.
        kind: Its format.

    Raises:
        ConversionError: If it is none, cannot be loaded, or does not say what it takes.
        MissingExtraError: If its runtime is not installed.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.kind = kind_of(path)
        if not self.kind:
            raise refusal(
                "no exported model" if path.exists() else "no such file or folder",
                file=path,
                hint="vit-duet export MODEL DST --format saved_model makes one.",
            )
        own, self.version = named_by(path, self.kind)
        self.name = _checked(name or own, path)
        require(EXTRAS[self.kind])
        try:
            self._artifact: Any = open_artifact(path, self.kind)
        except Exception as error:  # whatever a runtime may say of a broken file
            text = _first_line(error)
            raise refusal(
                f"{NAMES[self.kind]} cannot load it: {text}", file=path
            ) from None
        self.facts: Mapping[str, Any] = self._artifact.facts
        self.signatures: Mapping[str, Signature] = self._signatures(path)
        self._lock = threading.Lock()

    def call(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Every output of a signature; of strings, arrays of bytes.

        Raises:
            CallError: If it fails.
        """
        try:
            with self._lock:
                return self._called(signature, inputs)
        except Exception as error:  # whatever a runtime may say of an input
            own = type(error).__name__.startswith("InvalidArgument")
            fault = own or isinstance(error, ValueError)
            raise CallError(_first_line(error), fault) from None

    def _called(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if isinstance(self._artifact, SavedModel):
            return self._artifact.call(signature, **inputs)
        (x,) = inputs.values()
        if self.kind == _AXES_LAST:
            x = np.moveaxis(x, -1, 1)
        found: dict[str, Array] = self._artifact.outputs(np.ascontiguousarray(x))
        return found

    def _signatures(self, path: Path) -> Mapping[str, Signature]:
        if isinstance(self._artifact, SavedModel):
            return {
                name: Signature(
                    _of_tensorflow(function.structured_input_signature[1]),
                    _of_tensorflow(function.structured_outputs),
                )
                for name, function in self._artifact.signatures.items()
            }
        if not self.facts:
            raise refusal(
                "does not say what it takes",
                file=path,
                hint="vit-duet export writes models that do.",
            )
        return {
            one["name"]: Signature(stated(one["inputs"]), stated(one["outputs"]))
            for one in self.facts["signatures"]
        }


def named_by(path: Path, kind: str) -> tuple[str, str]:
    """What an artifact is called by its path, and which version it is."""
    own, version = path.resolve(), "1"
    if kind in MARKERS:
        folder = version_of(own, MARKERS[kind]) or own
        if folder.name.isdecimal():
            own, version = folder.parent, folder.name
    else:
        own = own.with_suffix("")
    return own.name, version


def _checked(name: str, path: Path) -> str:
    if re.fullmatch(r"[\w.-]+", name, re.ASCII):
        return name
    raise refusal(
        f"{name!r} is no name for a URL: letters, digits, '_', '-' and '.' are",
        file=path,
        hint="--name says another one.",
        kind="config",
    )


def _of_tensorflow(specs: Mapping[str, Any]) -> dict[str, Tensor]:
    found = {}
    for name, spec in specs.items():
        shape = None
        if spec.shape.rank is not None:
            shape = tuple(-1 if n is None else int(n) for n in spec.shape)
        found[name] = Tensor(str(spec.dtype.name), shape)
    return found


def stated(tensors: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Tensors as an artifact's facts have them."""
    return {
        one["name"]: Tensor(
            one["dtype"],
            tuple(n if isinstance(n, int) else -1 for n in one["shape"]),
        )
        for one in tensors
    }


def _first_line(error: Exception) -> str:
    """What is wrong, without TensorFlow's words for the place in its graph."""
    lines = [line.strip() for line in _SPOKEN.sub("", str(error)).splitlines()]
    lines = [line for line in lines if line and not line.startswith(_PLACES)]
    if not lines:
        return type(error).__name__
    words = lines[0]
    if words.startswith(_FAILED):  # parts of a message, in brackets each
        words = words.removeprefix(_FAILED)[1:].replace("] [", " ").removesuffix("]")
    return words[:300]
