"""One process of a backend makes every artifact, another one loads them all."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.once import shared_folder
from tests.saving.backends import (
    PROCESSES,
    ROOT,
    Results,
    Step,
    available,
    run_steps,
    step_names,
)
from tests.saving.cases import Case, covering, matrix, ways

T = TypeVar("T")
FOREIGN = 3
"""Cases of a backend that the others load, too, in the default run."""

LONG = ("pure_dtypes", "int4")
"""Steps of `steps_life.py` that the default run leaves to the slow one."""

TRAINING = ("checkpoint", "resume")
"""Steps in which every backend goes its own way."""

HANDS = ("tensorflow", "torch", "jax", "torch")
"""Who takes the next of the shared steps, in turn: torch is more than twice as fast."""


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
    hands = [name for name in HANDS if name in available()]
    dealt = zip(items, itertools.cycle(hands), strict=False)
    return items if every else [item for item, name in dealt if name == backend]


def cases(backend: str, every: bool = False) -> Sequence[Case]:
    """The cases that a backend saves and loads.

    In the default run they are shared among all, so that every value of every flag is
    met on every backend; the fastest takes what is not needed for that.
    """
    if every:
        return matrix()
    left = matrix()
    for name in ("jax", "tensorflow", "torch"):
        if name not in available():
            continue
        mine = left if name == available()[-1] else covering(left)
        if name == backend:
            return mine
        left = tuple(case for case in left if case not in mine)
    return ()


def foreign(source: str, every: bool = False) -> Sequence[Case]:
    """The cases of a backend that the others load, too."""
    return cases(source, every)[: None if every else FOREIGN]


def proofs(backend: str, every: bool = False) -> Sequence[str]:
    """The proofs of the guard that a backend runs."""
    return share(step_names("steps_guard", "check_"), backend, every)


def lives(backend: str, every: bool = False) -> Sequence[str]:
    """The steps of `steps_life.py` that a backend runs.

    In the default run without the longest: those of training on every backend, and the
    others shared among all.
    """
    names = step_names("steps_life", "make_")
    if every:
        return names
    shared = [name for name in names if name not in (*LONG, *TRAINING)]
    mine = {*TRAINING, *share(shared, backend)} if backend in available() else set()
    return [name for name in names if name in mine]


def compat(backend: str, every: bool = False) -> Sequence[tuple[str, str, str]]:
    """The files of earlier releases that a backend loads."""
    return share(COMPAT, backend, every)


class Runs:
    """The processes of a session, each started when first asked for.

    The default run shares matrix and proofs among the backends, and JAX compiles with
    few optimisations, once for both processes. The slow one does everything everywhere,
    as users have it. Backends run side by side, `VIT_DUET_PROCESSES` at a time.

    Args:
        folder: Where the artifacts go, a folder a backend.
        wanted: Backends that the selected tests ask for.
    """

    def __init__(self, folder: Path, wanted: Sequence[str]):
        self.folder = folder
        self.wanted = wanted
        self.done: dict[tuple[str, bool, str], Future[Results]] = {}

    def made(self, backend: str, every: bool = False) -> Results:
        """The artifacts of a backend."""
        self._ensure("make", every, available())
        return self.done[backend, every, "make"].result()

    def loaded(self, backend: str, every: bool = False) -> Results:
        """What a fresh process says about them, and about other files."""
        self._ensure("make", every, available())
        self._ensure("load", every, self.wanted)
        return self.done[backend, every, "load"].result()

    def _ensure(self, phase: str, every: bool, backends: Sequence[str]) -> None:
        cache = None if every else self.folder / "jax-cache"
        with ThreadPoolExecutor(PROCESSES) as pool:  # waits for all at its end
            for backend in backends:
                if (backend, every, phase) not in self.done:
                    folder = self._folder(backend, every)
                    steps = self._plan(phase, backend, every)
                    self.done[backend, every, phase] = pool.submit(
                        run_steps, backend, folder, phase, steps, cache
                    )

    def _plan(self, phase: str, backend: str, every: bool) -> list[Step]:
        steps = [
            *_matrix_steps(phase, backend, every),
            *_steps("steps_life", f"{phase}_", lives(backend, every)),
        ]
        if phase == "load":
            steps += [
                *self._foreign_steps(backend, every),
                *_compat_steps(backend, every),
                *_steps("steps_guard", "check_", proofs(backend, every)),
            ]
        return steps

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
    steps = []
    for case in cases(backend, every):
        options: dict[str, Any] = {"case": case.name, "config": case.config.to_dict()}
        if what == "load":
            options["ways"] = ways(case, every)
        steps.append((f"{what} {case.name}", f"steps_matrix:{what}", options))
    return steps


def _compat_steps(backend: str, every: bool) -> list[Step]:
    return [
        (
            f"compat {version} {name} {kind}",
            "steps_compat:load",
            {"version": version, "name": name, "kind": kind},
        )
        for version, name, kind in compat(backend, every)
    ]


@pytest.fixture(scope="session")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    """The processes of this session."""
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    asked = {call.params.get("backend") for call in calls if call}
    wanted = [backend for backend in available() if backend in asked]
    return Runs(shared_folder(tmp_path_factory, "saving"), wanted)
