"""One process of a backend makes every artifact, another one loads them all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from tests.saving.backends import ROOT, Results, Step, available, run_steps, step_names
from tests.saving.cases import Case, matrix

T = TypeVar("T")
FOREIGN = 3
"""Cases of a backend that the others load, too, in the default run."""

LONG = ("pure_dtypes", "int4")
"""Steps of `steps_life.py` that the default run leaves to the slow one."""


def _compat() -> tuple[tuple[str, str, str], ...]:
    """(version, model, format) of all files that earlier releases wrote."""
    found = []
    folder = ROOT / "tests" / "compat"
    for kind, suffix in KINDS.items():
        for path in folder.glob(f"*/*{suffix}"):
            found.append((path.parent.name, path.name.removesuffix(suffix), kind))
    return tuple(sorted(found))


KINDS = {
    "keras": ".keras.gz",
    "weights.h5": ".weights.h5.gz",
    "safetensors": ".safetensors",
}
COMPAT = _compat()


def share(items: Sequence[T], backend: str, every: bool = False) -> Sequence[T]:
    """What a backend does; in the default run the work is shared among all."""
    backends = available()
    return items if every else items[backends.index(backend) :: len(backends)]


def foreign(source: str, every: bool = False) -> Sequence[Case]:
    """The cases of a backend that the others load, too."""
    return share(matrix(), source, every)[: None if every else FOREIGN]


def proofs(backend: str, every: bool = False) -> Sequence[str]:
    """The proofs of the guard that a backend runs."""
    return share(step_names("steps_guard", "check_"), backend, every)


def lives(every: bool = False) -> list[str]:
    """The steps of `steps_life.py`; in the default run without the longest."""
    names = step_names("steps_life", "make_")
    return [name for name in names if every or name not in LONG]


class Runs:
    """The processes of a session, each started when first asked for.

    The default run shares matrix and proofs among the backends, and JAX compiles with
    few optimisations, once for both processes. The slow one does everything everywhere,
    as users have it.

    Args:
        folder: Where the artifacts go, a folder a backend.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.done: dict[tuple[str, bool, str], Results] = {}

    def made(self, backend: str, every: bool = False) -> Results:
        """The artifacts of a backend."""
        return self._run(
            backend,
            every,
            "make",
            [
                *_matrix_steps("make", backend, every),
                *_steps("steps_life", "make_", lives(every)),
            ],
        )

    def loaded(self, backend: str, every: bool = False) -> Results:
        """What a fresh process says about them, and about other files."""
        for source in available():
            self.made(source, every)
        return self._run(
            backend,
            every,
            "load",
            [
                *_matrix_steps("load", backend, every),
                *self._foreign_steps(backend, every),
                *_steps("steps_life", "load_", lives(every)),
                *_compat_steps(),
                *_steps("steps_guard", "check_", proofs(backend, every)),
            ],
        )

    def _run(self, backend: str, every: bool, phase: str, steps: list[Step]) -> Results:
        key = (backend, every, phase)
        if key not in self.done:
            cache = None if every else self.folder / "jax-cache"
            folder = self._folder(backend, every)
            self.done[key] = run_steps(backend, folder, steps, cache)
        return self.done[key]

    def _folder(self, backend: str, every: bool) -> Path:
        return self.folder / f"{backend}-{'all' if every else 'share'}"

    def _foreign_steps(self, backend: str, every: bool) -> list[Step]:
        return [
            (
                f"foreign {source} {case.name}",
                "steps_matrix:load_foreign",
                {
                    "case": case.name,
                    "config": case.config.to_dict(),
                    "folder": str(self._folder(source, every)),
                },
            )
            for source in available()
            if source != backend
            for case in foreign(source, every)
        ]


def _steps(module: str, prefix: str, names: Sequence[str]) -> list[Step]:
    return [(f"{prefix}{name}", f"{module}:{prefix}{name}", {}) for name in names]


def _matrix_steps(what: str, backend: str, every: bool) -> list[Step]:
    return [
        (
            f"{what} {case.name}",
            f"steps_matrix:{what}",
            {"case": case.name, "config": case.config.to_dict()},
        )
        for case in share(matrix(), backend, every)
    ]


def _compat_steps() -> list[Step]:
    return [
        (
            f"compat {version} {name} {kind}",
            "steps_compat:load",
            {"version": version, "name": name, "kind": kind},
        )
        for version, name, kind in COMPAT
    ]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The processes of this session."""
    return Runs(tmp_path_factory.mktemp("saving"))
