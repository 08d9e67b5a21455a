"""The pytest plugin: `assert_parity`, fixtures, and a suite for a user's checkpoint.

pytest loads this in every project of an environment, so that it imports nothing but
pytest, has no autouse fixtures and leaves warnings alone; all that it adds to a run
waits for an option that begins with `--parity-`, or for a test that takes a fixture.

PYTEST_DONT_REWRITE: there is no `assert` in here, and where something else imported
this before, pytest would warn that it comes too late to rewrite it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from converters.pytest_plugin.backends import fixture_of, named_and_missing
from converters.pytest_plugin.fixtures import (
    UNCHECKED,
    assert_parity,
    parity_checkpoint,
    parity_device,
)
from converters.pytest_plugin.options import MARK, add_options, misplaced

if TYPE_CHECKING:
    from converters.pytest_plugin.work import Work

WORK: pytest.StashKey[Work] = pytest.StashKey()

__all__ = ["assert_parity", "parity_checkpoint", "parity_device"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options, all with the prefix `--parity-`."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Makes the fixture of the backends, whose values depend on the options."""
    config.pluginmanager.register(fixture_of(config), "parity backends")
    config.addinivalue_line("markers", f"{MARK}: the suite of --parity-checkpoint")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Opens the checkpoint, if one is given, so that a wrong one ends the run here.

    Raises:
        pytest.UsageError: If it cannot be read, or an option cannot be followed.
    """
    config = session.config
    problem = misplaced(config) or named_and_missing(config)
    if problem:
        raise pytest.UsageError(problem)
    if config.getoption("parity_checkpoint") is None:
        return
    from converters.pytest_plugin.work import start

    config.stash[WORK] = start(config)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Says whose parity is tested."""
    work = config.stash.get(WORK, None)
    return None if work is None else work.header


@pytest.hookimpl(tryfirst=True)  # before -k and -m
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Adds the suite, whatever else there is to collect."""
    work = config.stash.get(WORK, None)
    if work is None:
        return
    from converters.pytest_plugin.suite import collected

    items.extend(collected(session, work))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names what tests accepted without its being checked."""
    lines = list(dict.fromkeys(_unchecked(terminalreporter)))
    if lines:
        terminalreporter.section("accepted by assert_parity, not checked")
        for line in lines:
            terminalreporter.line(line)


def _unchecked(terminalreporter: pytest.TerminalReporter) -> Iterator[str]:
    for report in terminalreporter.getreports("passed"):
        if report.when == "call":
            for name, value in report.user_properties:
                if name == UNCHECKED:
                    yield f"{report.nodeid}: {value}"
