"""What users do with a model does not come between saving and loading.

Each law has a `make_` and a `load_` in `steps_life.py`, run in two processes. The guard
must keep silent in all of them.
"""

from __future__ import annotations

import pytest

from tests.saving.backends import BACKENDS, backend_param, step_names, value_of
from tests.saving.conftest import Runs

NAMES = step_names("steps_life", "make_")


@pytest.mark.parametrize(
    ("backend", "name"), [backend_param(b, name) for b in BACKENDS for name in NAMES]
)
def test_reload_after(runs: Runs, backend: str, name: str) -> None:
    value_of(runs.made(backend), f"make_{name}")
    value_of(runs.loaded(backend), f"load_{name}")


def test_every_step_has_its_counterpart() -> None:
    assert step_names("steps_life", "load_") == NAMES
    assert len(NAMES) == 18
