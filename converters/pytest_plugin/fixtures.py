"""Fixtures for other people's tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from converters.pytest_plugin.options import asked, placed

if TYPE_CHECKING:
    from converters.parity.record import ParityReport

UNCHECKED = "parity not checked"
"""Name of the property that a test has for each part accepted without a check."""

_LOOK = """
import sys
from converters.workers.device import UnavailableError, settle
try:
    settle("torch", "cuda")
except (ImportError, UnavailableError) as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="session")
def parity_device(pytestconfig: pytest.Config) -> str:
    """Where models run, as --parity-device says; skips if there is no such device."""
    device = str(pytestconfig.getoption("parity_device"))
    reason = without_cuda() if device == "cuda" else ""
    if reason:
        pytest.skip(f"--parity-device cuda: {reason}")
    return device


def without_cuda() -> str:
    """Says why there is no CUDA device for PyTorch; empty if there is one.

    Another process looks, as this one shall import a framework only if its tests do.
    """
    from converters.workers.device import environment

    done = subprocess.run(
        [sys.executable, "-c", _LOOK],
        env={
            **os.environ,
            **environment("cuda"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[-1] if done.returncode else ""


@pytest.fixture(scope="session")
def parity_checkpoint(pytestconfig: pytest.Config) -> Path | str:
    """The file or folder of --parity-checkpoint, or a hub id; skips without any."""
    found = placed(pytestconfig, "checkpoint")
    if found is None:
        pytest.skip("no --parity-checkpoint was given")
    return found if "://" in found else Path(found)


@pytest.fixture
def assert_parity(
    request: pytest.FixtureRequest, parity_device: str
) -> Callable[..., ParityReport]:
    """`converters.assert_parity`, with what the options --parity-... say as defaults.

    In a test that takes `parity_backend`, that is the backend.
    """
    config = request.config
    named = config.getoption("parity_backend")
    if "parity_backend" in request.fixturenames:
        named = [request.getfixturevalue("parity_backend")]
    given = {**asked(config), "device": parity_device, "backends": tuple(named or ())}

    def assert_parity(a: Any, b: Any, **arguments: Any) -> ParityReport:
        __tracebackhide__ = True
        from converters import assert_parity

        report = assert_parity(a, b, **{**given, **arguments})
        for check in report.not_checked:
            about = f"{check.subject or check.name}: {check.message}"
            request.node.user_properties.append((UNCHECKED, about))
        return report

    return assert_parity
