"""One process of a backend makes every artifact, another one loads them all."""

from __future__ import annotations

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
from tests.saving.cases import WAYS, Case, covering, matrix

T = TypeVar("T")
FOREIGN = 2
"""Cases of a backend that another one loads, too, in the default run."""

LONG = ("pure_dtypes", "int4")
"""Steps of `steps_life.py` that the default run leaves to the slow one."""

TRAINING = "resume"
"""The step in which every backend goes its own way."""

READER = "jax"
"""Loads only, in the default run, what the others saved: it compiles for long."""

TENSORFLOW_PROOFS = (
    "lazy_weight",
    "order_of_same_shapes",
    "shifted_names",
    "changed_file_inside_other_models",
)
"""What the guard refuses, one proof of each kind: TensorFlow's in the default run."""

TENSORFLOW_LIVES = (TRAINING, "shared")
"""Steps of `steps_life.py` that TensorFlow runs in the default run."""


def savers() -> list[str]:
    """Backends that save in the default run."""
    return [name for name in available() if name != READER] or available()


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


def _shared(names: Sequence[str], tensorflow: Sequence[str], backend: str) -> list[str]:
    """What a backend does in the default run: TensorFlow this, torch the rest."""
    if backend not in savers():
        return []
    alone = savers() == [backend]
    first = backend == "tensorflow"
    return [name for name in names if alone or (name in tensorflow) == first]


def cases(backend: str, every: bool = False) -> Sequence[Case]:
    """The cases that a backend saves and loads.

    In the default run each of those that save has a few of its own, in which every
    value of every flag is met. In the slow run everyone has them all, JAX as many as
    meet every value.
    """
    if every:
        return covering(matrix()) if backend == READER else matrix()
    left = matrix()
    for name in savers():
        mine = covering(left)
        if name == backend:
            return mine
        left = tuple(case for case in left if case not in mine)
    return ()


def ways(backend: str, every: bool = False) -> Sequence[str]:
    """The ways in which a backend loads its cases; the default run shares them out."""
    keras, ours, *weights = WAYS
    if every or savers() == [backend]:
        return WAYS
    return (keras, ours) if backend == savers()[0] else (keras, *weights)


def foreign(source: str, backend: str, every: bool = False) -> Sequence[Case]:
    """The cases of a backend that another one loads, too."""
    if every:
        return [case for case in cases(source, every) if case in cases(backend, every)]
    if backend == READER:
        return cases(source)[:1] if source == savers()[0] else ()
    return cases(source)[:FOREIGN]


def proofs(backend: str, every: bool = False) -> Sequence[str]:
    """The proofs of the guard that a backend runs."""
    names = step_names("steps_guard", "check_")
    return names if every else _shared(names, TENSORFLOW_PROOFS, backend)


def lives(backend: str, every: bool = False) -> Sequence[str]:
    """The steps of `steps_life.py` that a backend runs.

    In the default run without the longest: that of training on every backend that
    saves, and the others shared among them.
    """
    names = step_names("steps_life", "make_")
    if every:
        return names
    names = [name for name in names if name not in LONG]
    mine = {*_shared(names, TENSORFLOW_LIVES, backend)}
    if backend in savers():
        mine.add(TRAINING)
    return [name for name in names if name in mine]


def compat(backend: str, every: bool = False) -> Sequence[tuple[str, str, str]]:
    """The files of earlier releases that a backend loads; each its part, by default."""
    hands = available()
    if every or backend not in hands:
        return COMPAT if every else ()
    return COMPAT[hands.index(backend) :: len(hands)]


class Runs:
    """The processes of a session, each started when first asked for.

    The default run shares ways and proofs among the backends, has a part of the matrix
    on each, and each process is `alone` with its own; JAX compiles with few
    optimisations and saves nothing. The slow run does everything everywhere, as users
    have it, JAX a part of the matrix. Backends run side by side, `VIT_DUET_PROCESSES`
    at a time.

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
        self._ensure("make", every, self._makers(every))
        return self.done[backend, every, "make"].result()

    def loaded(self, backend: str, every: bool = False) -> Results:
        """What a fresh process says about them, and about other files."""
        self._ensure("make", every, self._makers(every))
        self._ensure("load", every, self.wanted)
        return self.done[backend, every, "load"].result()

    def _makers(self, every: bool) -> list[str]:
        return available() if every else savers()

    def _ensure(self, phase: str, every: bool, backends: Sequence[str]) -> None:
        with ThreadPoolExecutor(PROCESSES) as pool:  # waits for all at its end
            for backend in backends:
                if (backend, every, phase) not in self.done:
                    folder = self._folder(backend, every)
                    steps = self._plan(phase, backend, every)
                    self.done[backend, every, phase] = pool.submit(
                        run_steps, backend, folder, phase, steps, not every
                    )

    def _plan(self, phase: str, backend: str, every: bool) -> list[Step]:
        steps = [
            *_matrix_steps(phase, backend, every),
            *_steps("steps_life", f"{phase}_", lives(backend, every)),
        ]
        if phase == "load":
            steps += [
                *page_steps(backend, every),
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
            for case in foreign(source, backend, every)
        ]


def _steps(module: str, prefix: str, names: Sequence[str]) -> list[Step]:
    return [(f"{prefix}{name}", f"{module}:{prefix}{name}", {}) for name in names]


def _matrix_steps(what: str, backend: str, every: bool) -> list[Step]:
    steps = []
    for case in cases(backend, every):
        options: dict[str, Any] = {
            **{"case": case.name, "config": case.config.to_dict()},
            "ways": ways(backend, every),
        }
        steps.append((f"{what} {case.name}", f"steps_matrix:{what}", options))
    return steps


def page_steps(backend: str, every: bool = False) -> list[Step]:
    """The code of the page on silent weights; by default on the first backend."""
    if every:
        return [("page", "steps_page:example", {}), ("hash", "steps_page:told", {})]
    return [("page", "steps_page:example", {})] if backend == available()[0] else []


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
