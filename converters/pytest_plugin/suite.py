"""The suite that runs on a user's checkpoint, one test for every part of parity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from converters.parity.failure import explain
from converters.parity.record import LEVELS, Check, ParityReport, verdict_of
from converters.pytest_plugin.options import MARK
from converters.pytest_plugin.work import REFUSALS, Work

if TYPE_CHECKING:
    from pathlib import Path

ROUND_TRIP = "back from .keras: the same bits in every weight"
WEIGHTS = "the same weights, config and preprocessing in its .keras file"

PARTS: dict[str, tuple[str, str]] = {
    "loading": ("logits", "the weights in memory are those of the file"),
    "logits": ("logits", "outputs, pooled vectors and tokens"),
    "layers": ("layers", "every step of the model"),
    "gradients": ("gradients", "of every weight and of the input"),
    "training": ("training", "weights after some steps of SGD and AdamW"),
    "reload": ("logits", "the same bits after saving and loading in a new process"),
}
"""What is tested on every backend: the level at which it runs, and what it is."""


class Suite(pytest.Collector):
    """All tests of the checkpoint."""

    def __init__(self, *, work: Work, **more: Any) -> None:
        super().__init__(**more)
        self.work = work
        self.add_marker(MARK)

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Those of the files, and those of each backend."""
        files = (
            ("round_trip", ROUND_TRIP, self.work.round_trip),
            ("weights", WEIGHTS, self.work.weights),
        )
        for name, text, run in files:
            yield FilePart.from_parent(
                self, name=name, text=text, run=run, work=self.work
            )
        for backend in self.work.backends:
            yield Backend.from_parent(self, name=backend, work=self.work)


class Backend(pytest.Collector):
    """All tests of the models that run on a backend, which has its name."""

    def __init__(self, *, work: Work, **more: Any) -> None:
        super().__init__(**more)
        self.work = work

    def collect(self) -> Iterator[pytest.Item]:
        """One for every part of the levels asked for."""
        reached = LEVELS.index(self.work.level)
        for part, (level, text) in PARTS.items():
            if LEVELS.index(level) <= reached:
                yield ModelPart.from_parent(
                    self, name=part, text=text, backend=self.name, work=self.work
                )


class Part(pytest.Item):
    """One test."""

    group = "parity"
    """Tests of one group share their work; with xdist, a process as well."""

    def __init__(self, *, text: str, work: Work, **more: Any) -> None:
        super().__init__(**more)
        self.text, self.work = text, work
        if self.config.pluginmanager.hasplugin("xdist"):
            self.add_marker(pytest.mark.xdist_group(self.group))

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it is from, and its title."""
        return self.path, None, f"{self.group}, {self.name}: {self.text}"

    def judge(
        self, run: Callable[[], ParityReport], mine: Callable[[Check], bool], again: str
    ) -> None:
        """Judges a part of what was found, as a test is.

        Args:
            run: Gives what was found.
            mine: Which checks are this test's.
            again: How to see it again, outside of pytest.
        """
        refused, report = "", None
        try:
            report = run()
        except REFUSALS as error:
            refused = str(error)
        if report is None:
            pytest.fail(refused, pytrace=False)
        checks = [check for check in report.checks if mine(check)]
        if verdict_of(checks) == "passed":
            return
        if any(check.status in ("failed", "not checked") for check in checks):
            pytest.fail(explain(report, again, checks), pytrace=False)
        pytest.skip(f"nothing to judge: {_reasons(checks)}")


def _reasons(checks: list[Check]) -> str:
    found = dict.fromkeys(check.message for check in checks if check.message)
    return "; ".join(found) or "no such figures of this model"


class FilePart(Part):
    """A test of files alone."""

    def __init__(self, *, run: Callable[[], ParityReport], **more: Any) -> None:
        super().__init__(**more)
        self._run = run

    def runtest(self) -> None:
        """Judges everything that was found."""
        self.judge(self._run, lambda check: True, self.work.again())


class ModelPart(Part):
    """A test of the models that run on a backend."""

    def __init__(self, *, backend: str, **more: Any) -> None:
        self.backend, self.group = backend, f"parity {backend}"
        super().__init__(**more)

    @property
    def level(self) -> str:
        """The level at which this is looked at."""
        return PARTS[self.name][0]

    def runtest(self) -> None:
        """Judges what the models said, who are asked once for all tests selected."""
        level = max(
            (
                item.level
                for item in self.session.items
                if isinstance(item, ModelPart) and item.backend == self.backend
            ),
            key=LEVELS.index,
        )
        again = self.work.again(self.backend, self.level)
        self.judge(lambda: self.work.models(self.backend, level), self._mine, again)

    def _mine(self, check: Check) -> bool:
        if check.status == "not checked":
            return True
        if self.name == "loading":  # what stands in the files is `weights`' matter
            return check.level == "weights" and self.backend in check.subject
        return check.level == self.name


def collected(session: pytest.Session, work: Work) -> Iterator[pytest.Item]:
    """The tests, collected as pytest collects its own."""
    suite = Suite.from_parent(session, name="parity", nodeid="parity", work=work)
    return session.genitems(suite)
