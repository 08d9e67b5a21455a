"""What Keras reloads silently wrong is refused; each proof is in `steps_guard.py`."""

from __future__ import annotations

import pytest

from tests.saving.backends import BACKENDS, backend_param, step_names, value_of
from tests.saving.conftest import Runs

NAMES = step_names("steps_guard", "check_")


@pytest.mark.parametrize(
    ("backend", "name"), [backend_param(b, name) for b in BACKENDS for name in NAMES]
)
def test_guard(runs: Runs, backend: str, name: str) -> None:
    value_of(runs.guard(backend), f"check_{name}")
