"""What the tests of a checkpoint share: its conversions and verifications."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest

from converters import ConversionError, ParityReport, convert, verify
from converters.checks.source import checked
from converters.checks.tensors import check_tensors
from converters.extras import MissingExtraError
from converters.judging.criteria import read_criteria
from converters.parity.failure import command
from converters.pytest_plugin.backends import chosen
from converters.pytest_plugin.options import (
    BACKENDS,
    asked,
    at,
    placed,
)
from converters.sources.door import open_source
from converters.sources.request import Asked, parse_changes
from converters.wording import PYTEST, speaking
from vit_config import ConfigError
from vit_config.weights import count_parameters

T = TypeVar("T")

DEFAULT_LEVEL = "layers"

REFUSALS = (ConversionError, ConfigError, MissingExtraError, OSError)
"""What a user's file or environment can cause; its text says all."""


@dataclass
class Work:
    """A checkpoint, and what has been done with it.

    Attributes:
        source: The file, folder or hub id.
        reading: How it is to be read, as arguments of `verify`.
        running: What is asked of the models, likewise.
        backends: Keras backends to run on.
        header: All that in a line.
    """

    source: str
    reading: dict[str, Any]
    running: dict[str, Any]
    backends: tuple[str, ...]
    header: str
    _done: dict[str, Any] = field(default_factory=dict)
    _folder: TemporaryDirectory[str] | None = None

    @property
    def level(self) -> str:
        """How far to go at most."""
        return str(self.running["level"])

    def converted(self) -> Path:
        """The checkpoint as a `.keras` file."""
        return self._once("keras", self._convert)

    def round_trip(self) -> ParityReport:
        """The checkpoint against what its `.keras` file is converted back to."""
        return self._once("round trip", self._there_and_back)

    def weights(self) -> ParityReport:
        """The checkpoint against its `.keras` file, no model run."""
        return self._once("weights", lambda: self._verify(self._weights_only()))

    def models(self, backend: str, level: str) -> ParityReport:
        """The checkpoint against its `.keras` file on a backend.

        Args:
            backend: Keras' backend.
            level: How far to go; of the first call, which later ones share.
        """
        more = {**self.running, "level": level, "backends": (backend,)}
        return self._once(backend, lambda: self._verify(more))

    def again(self, backend: str = "", level: str = "weights") -> str:
        """The commands that do the same outside of pytest."""
        more = self._weights_only()
        if backend:
            more = {**self.running, "level": level, "backends": (backend,)}
        target = "out.keras"
        there = command(self.source, target, self.reading, "convert")
        return f"{there} && {command(self.source, target, {**self.reading, **more})}"

    def close(self) -> None:
        """Deletes what was written."""
        if self._folder is not None:
            self._folder.cleanup()

    def _weights_only(self) -> dict[str, Any]:
        criteria = self.running.get("criteria")
        return {"level": "weights", "criteria": criteria}

    def _convert(self) -> Path:
        self._folder = TemporaryDirectory(prefix="vit-duet-pytest-")
        path = Path(self._folder.name, "out.keras")
        convert(self.source, path, verify="weights", **self.reading)
        return path

    def _there_and_back(self) -> ParityReport:
        there = self.converted()
        back = there.with_name("back.safetensors")
        convert(there, back, verify="weights")
        try:
            return verify(self.source, back, level="weights", **self.reading)
        finally:
            back.unlink()

    def _verify(self, more: dict[str, Any]) -> ParityReport:
        return verify(self.source, self.converted(), **self.reading, **more)

    def _once(self, name: str, work: Callable[[], T]) -> T:
        """Does something the first time; an error comes again each time."""
        if name not in self._done:
            try:
                self._done[name] = work()
            except Exception as error:
                self._done[name] = error
        found = self._done[name]
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]


def start(config: pytest.Config) -> Work:
    """Reads the options and opens the checkpoint.

    Raises:
        pytest.UsageError: If it cannot be read, or cannot be the model that they say.
    """
    source = placed(config, "checkpoint") or ""
    running = {
        "level": DEFAULT_LEVEL,
        **asked(config),
        "inputs": [at(config, path) for path in config.getoption("parity_input") or ()],
    }
    try:
        with speaking(PYTEST):
            reading = {
                "from_dialect": config.getoption("parity_dialect"),
                "prefix": config.getoption("parity_prefix"),
                "config": placed(config, "config"),
                "preset": config.getoption("parity_preset"),
                "changes": parse_changes(config.getoption("parity_set") or []),
                "drop": tuple(config.getoption("parity_drop") or ()),
                "head": config.getoption("parity_head"),
                "base": placed(config, "base"),
            }
            read_criteria(running.get("criteria"))
            found = "" if hasattr(config, "workerinput") else _opened(source, reading)
    except REFUSALS as error:
        raise pytest.UsageError(f"--parity-checkpoint: {error}") from None
    backends = chosen(config) or BACKENDS[:1]
    work = Work(source, reading, running, backends, _header(found, running, backends))
    config.add_cleanup(work.close)
    return work


def _opened(source: str, reading: dict[str, Any]) -> str:
    """Whose file it is; names and shapes of its tensors are looked at, not its values.

    Raises:
        ConversionError: If it cannot be read, or is not complete.
        ConfigError: If its config describes no model.
        MissingExtraError: If something that it needs is not installed.
    """
    with open_source(source, Asked.by(**reading)) as reader:
        if check_tensors(reader, reader.plan(), casting=False):
            checked(reader)  # raises, and looks for the cause
        name = Path(source).name
        parameters = count_parameters(reader.config)
        return f"{name} ({reader.dialect}), {parameters:,} parameters"


def _header(found: str, running: dict[str, Any], backends: Sequence[str]) -> str:
    on = ", ".join(backends)
    return f"parity: {found}; up to {running['level']}, Keras on {on}"
