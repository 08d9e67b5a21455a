"""The files of every release load for ever, on every backend, with the same numbers.

`tests/compat/VERSION` holds small models as that release wrote them, each with an input
and its output in float64. `tools/make_compat.py` writes the folder of a new release.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.saving.backends import BACKENDS, available, backend_param, value_of
from tests.saving.conftest import COMPAT, Runs, compat

TOLERANCE = 4e-6
"""Bound on the RMS error, as a share of the output's RMS: float32 rounding, some tens
of times (see `test_matrix.py`)."""


def params(every: bool) -> list[Any]:
    """(backend, version, model, format); in the default run the backends share them."""
    backends = BACKENDS if every else available()
    return [backend_param(b, *file) for b in backends for file in compat(b, every)]


@pytest.mark.parametrize(("backend", "version", "name", "kind"), params(every=False))
def test_release_file_still_loads(
    runs: Runs, backend: str, version: str, name: str, kind: str
) -> None:
    error = value_of(runs.loaded(backend), f"compat {version} {name} {kind}")
    assert error <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "version", "name", "kind"), params(every=True))
def test_release_file_still_loads_everywhere(
    runs: Runs, backend: str, version: str, name: str, kind: str
) -> None:
    loaded = runs.loaded(backend, every=True)
    assert value_of(loaded, f"compat {version} {name} {kind}") <= TOLERANCE


def test_release_files_are_complete_and_small() -> None:
    folders = {folder.name: folder for folder in Path("tests/compat").iterdir()}
    assert "0.1" in folders
    for version, folder in folders.items():
        kinds = {(name, kind) for v, name, kind in COMPAT if v == version}
        names = {name for name, _ in kinds}
        assert names == {"classify_2d", "features_3d"}
        assert len(kinds) == 6
        assert sum(path.stat().st_size for path in folder.iterdir()) < 200_000
