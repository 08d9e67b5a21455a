"""On which Keras backends tests run."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from converters.pytest_plugin.options import BACKENDS

EXTRAS = {"tensorflow": "keras", "jax": "jax", "torch": "torch"}


def missing(backend: str) -> str:
    """Says why Keras cannot run on a backend; empty if it can."""
    for module, extra in ((backend, EXTRAS[backend]), ("keras", "keras")):
        if find_spec(module) is None:
            return f"{module} is not installed: pip install 'vit-duet[{extra}]'"
    return ""


def named_and_missing(config: pytest.Config) -> str:
    """Says which of the backends asked for is not installed; empty if all are."""
    if config.getoption("parity_keras_python"):
        return ""  # they are in that other environment
    for name in config.getoption("parity_backend") or ():
        reason = missing(name)
        if reason:
            return f"--parity-backend {name}: {reason}"
    return ""


def chosen(config: pytest.Config) -> tuple[str, ...]:
    """The backends asked for, else those that are installed; there may be none."""
    named = config.getoption("parity_backend")
    if named:
        return tuple(dict.fromkeys(named))
    if config.getoption("parity_keras_python"):
        return BACKENDS[:1]
    return tuple(name for name in BACKENDS if not missing(name))


def fixture_of(config: pytest.Config) -> object:
    """A plugin with the fixture `parity_backend`, which has a value per backend."""
    none = pytest.mark.skip(reason=missing(BACKENDS[0]))
    values = chosen(config) or [pytest.param(BACKENDS[0], marks=none)]

    class Backends:
        @pytest.fixture(scope="session", params=values)
        def parity_backend(self, request: pytest.FixtureRequest) -> str:
            """Keras backends: those of --parity-backend, or all that are installed."""
            return str(request.param)

    return Backends()
