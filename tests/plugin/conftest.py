"""pytest inside pytest."""

from __future__ import annotations

import pytest

from tests.plugin.common import Run


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs pytest in this process, in an empty folder, with this plugin alone."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("PYTEST_ADDOPTS", "CI", "BUILD_NUMBER"):  # these show more lines
        monkeypatch.delenv(name, raising=False)

    def run(*words: object) -> pytest.RunResult:
        plugin = ("-p", "converters.pytest_plugin", "-p", "no:cacheprovider")
        return pytester.runpytest_inprocess(*plugin, *map(str, words))

    return run
