"""What Keras reloads silently wrong is refused; each proof is in `steps_guard.py`."""

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
from tests.saving.conftest import TENSORFLOW_PROOFS, Runs, proofs


def params(every: bool) -> list[Any]:
    """(backend, proof) for every proof of that run."""
    return [
        backend_param(backend, name)
        for backend in BACKENDS
        for name in (proofs(backend, every) if backend in available() else ["any"])
    ]


@pytest.mark.parametrize(("backend", "name"), params(every=False))
def test_guard(runs: Runs, backend: str, name: str) -> None:
    value_of(runs.loaded(backend), f"check_{name}")


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "name"), params(every=True))
def test_guard_on_every_backend(runs: Runs, backend: str, name: str) -> None:
    value_of(runs.loaded(backend, every=True), f"check_{name}")


def test_all_proofs_are_shared_out() -> None:
    names = step_names("steps_guard", "check_")
    shared = [name for backend in available() for name in proofs(backend)]
    assert sorted(shared) == sorted(names) or not available()
    assert set(TENSORFLOW_PROOFS) < set(names)
    assert len(names) == 16
