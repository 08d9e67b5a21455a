"""One process of a backend makes every artifact, another one loads them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.saving.backends import ROOT, Results, Step, available, run_steps, step_names
from tests.saving.cases import Case, matrix

FOREIGN = 6
"""Cases of a backend that the others load, too, in the default run."""


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


def share(backend: str, every: bool = False) -> tuple[Case, ...]:
    """The cases of a backend; in the default run they are shared among all."""
    backends = available()
    step = 1 if every else len(backends)
    start = 0 if every else backends.index(backend)
    return matrix()[start::step]


def foreign(source: str, every: bool = False) -> tuple[Case, ...]:
    """The cases of a backend that the others load, too."""
    return share(source, every)[: None if every else FOREIGN]


class Runs:
    """The processes of a session, each started when first asked for.

    Args:
        folder: Where the artifacts go, a folder a backend.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.done: dict[tuple[str, str], Results] = {}

    def made(self, backend: str) -> Results:
        """The default artifacts of a backend."""
        steps = [*self._matrix("make", backend), *_steps("steps_life", "make_")]
        return self._run(backend, "default", "make", steps)

    def loaded(self, backend: str) -> Results:
        """What a fresh process says about them, and about other backends'."""
        for source in available():
            self.made(source)
        steps = [
            *self._matrix("load", backend),
            *self._foreign(backend),
            *_steps("steps_life", "load_"),
            *_compat_steps(),
        ]
        return self._run(backend, "default", "load", steps)

    def made_all(self, backend: str) -> Results:
        """As `made`, the whole matrix and nothing else."""
        return self._run(backend, "all", "make", self._matrix("make", backend, True))

    def loaded_all(self, backend: str) -> Results:
        """As `loaded`, the whole matrix and nothing else."""
        for source in available():
            self.made_all(source)
        steps = [*self._matrix("load", backend, True), *self._foreign(backend, True)]
        return self._run(backend, "all", "load", steps)

    def guard(self, backend: str) -> Results:
        """The proofs of the guard."""
        return self._run(backend, "guard", "", _steps("steps_guard", "check_"))

    def _run(self, backend: str, kind: str, phase: str, steps: list[Step]) -> Results:
        key = (backend, kind + phase)
        if key not in self.done:
            folder = self._folder(backend, kind)
            cache = None if kind == "all" else self.folder / "jax-cache"
            self.done[key] = run_steps(backend, folder, steps, cache)
        return self.done[key]

    def _folder(self, backend: str, kind: str) -> Path:
        return self.folder / f"{backend}-{kind}"

    def _matrix(self, what: str, backend: str, every: bool = False) -> list[Step]:
        return [
            (
                f"{what} {case.name}",
                f"steps_matrix:{what}",
                {"case": case.name, "config": case.config.to_dict()},
            )
            for case in share(backend, every)
        ]

    def _foreign(self, backend: str, every: bool = False) -> list[Step]:
        return [
            (
                f"foreign {source} {case.name}",
                "steps_matrix:load_foreign",
                {
                    "case": case.name,
                    "config": case.config.to_dict(),
                    "folder": str(self._folder(source, "all" if every else "default")),
                },
            )
            for source in available()
            if source != backend
            for case in foreign(source, every)
        ]


def _steps(module: str, prefix: str) -> list[Step]:
    return [
        (f"{prefix}{name}", f"{module}:{prefix}{name}", {})
        for name in step_names(module, prefix)
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
