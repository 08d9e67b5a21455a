"""The parts of a long piece of work: which one is going on, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

READING = "reading and checking"
WRITING = "writing"
PROVING = "proving"
LOADING = "loading in a fresh process"
RUNNING = "running both models"
COMPARING = "comparing"
"""Names of the phases of `convert`."""

Announce = Callable[[str], None]
"""Called with the name of each phase as it begins."""


Ended = Callable[[str, float], None]
"""Called with the name of each phase and its seconds as it ends."""


class Phases:
    """One phase after another; what begins ends the one before.

    A phase that comes again goes on where it was.

    Args:
        announce: Called with the name of each phase as it begins.
        ended: Called with its name and seconds as it ends.

    Attributes:
        seconds: Time of each phase that has ended, by name, in order.
    """

    def __init__(
        self, announce: Announce | None = None, ended: Ended | None = None
    ) -> None:
        self._announce, self._ended = announce, ended
        self._name, self._start = "", 0.0
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str) -> None:
        """Begins a phase."""
        self.end()
        self._name, self._start = name, time.perf_counter()
        if self._announce is not None:
            self._announce(name)

    def end(self) -> dict[str, float]:
        """Ends the phase that is going on; the seconds of all."""
        if self._name:
            took = time.perf_counter() - self._start
            self.seconds[self._name] = self.seconds.get(self._name, 0.0) + took
            if self._ended is not None:
                self._ended(self._name, took)
            self._name = ""
        return dict(self.seconds)


def phases_text(phases: Mapping[str, float], seconds: float) -> str:
    """`12.3 s: writing 0.4 s, proving 0.2 s`."""
    parts = ", ".join(f"{name} {took:.2f} s" for name, took in phases.items())
    return f"{seconds:.2f} s: {parts}" if parts else f"{seconds:.2f} s"
