"""What users do with a model does not come between saving and loading.

Each law has a `make_` and a `load_` in `steps_life.py`, run in two processes. The guard
must keep silent in all of them.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.saving.backends import (
    BACKENDS,
    available,
    backend_param,
    step_names,
    value_of,
)
from tests.saving.conftest import (
    LONG,
    TENSORFLOW_LIVES,
    TRAINING,
    Runs,
    lives,
    savers,
)


def params(every: bool) -> list[Any]:
    """(backend, step) for every step of that run."""
    backends = BACKENDS if every else available()
    return [backend_param(b, name) for b in backends for name in lives(b, every)]


@pytest.mark.parametrize(("backend", "name"), params(every=False))
def test_reload_after(runs: Runs, backend: str, name: str) -> None:
    value_of(runs.made(backend), f"make_{name}")
    value_of(runs.loaded(backend), f"load_{name}")


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "name"), params(every=True))
def test_reload_after_as_users_have_it(runs: Runs, backend: str, name: str) -> None:
    value_of(runs.made(backend, every=True), f"make_{name}")
    value_of(runs.loaded(backend, every=True), f"load_{name}")


def test_every_step_has_its_counterpart() -> None:
    names = step_names("steps_life", "make_")
    assert step_names("steps_life", "load_") == names
    assert set(LONG) | set(TENSORFLOW_LIVES) < set(names)
    assert len(names) == 17
    for backend in savers():
        assert TRAINING in lives(backend)
    run = {name for backend in available() for name in lives(backend)}
    assert not available() or run == set(names) - set(LONG)
