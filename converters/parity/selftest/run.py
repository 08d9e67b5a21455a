"""`vit-duet verify --self-test`: can this checker be trusted on this machine?

Three questions, as the qualification of a measuring tool asks them. Do the twins give
what the real libraries gave (recorded outputs)? Does `verify` fail what is wrong
(faults)? Does it pass what is right (clean pairs)?
"""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from converters.errors import refusal
from converters.judging.rms import RMS_LIMIT
from converters.parity.faults import BASES, families, faults_of
from converters.parity.selftest.clean import clean_pairs
from converters.parity.selftest.recorded import USED, ratios
from converters.parity.selftest.trial import Outcome, of_base
from converters.version import VERSION
from converters.workers.device import DEVICES
from converters.workers.process import BACKENDS, chosen_backend

Kind = Literal["recorded", "fault", "clean"]
Tell = Callable[[str], None]

CLEAN = 12
LEAST_BLAMED = 0.85
"""Share of faults of which the right place has to be blamed."""


class Item(BaseModel):
    """One thing that was tried.

    Attributes:
        kind: `"recorded"`, `"fault"` or `"clean"`.
        name: What.
        backend: Keras' backend, or `"torch twin"`.
        passed: Whether it went as it should: recorded outputs met, a fault found, a
            clean pair passed.
        ratio: Error over the library's own, of recorded outputs; largest ratio of
            outputs, of a clean pair.
        found_by: Levels that found a fault.
        blamed_right: Whether the right place was blamed for a fault.
        message: What is wrong, if it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    name: str
    backend: str
    passed: bool
    ratio: float | None = None
    found_by: tuple[str, ...] = ()
    blamed_right: bool | None = None
    message: str = ""


class SelfTest(BaseModel):
    """What a self-test found.

    Attributes:
        producer: Who made it.
        passed: Whether all went as it should, and enough places were blamed rightly.
        device: `"cpu"` or `"cuda"`.
        backends: Keras backends.
        versions: Of Python and of every package that took part.
        blamed: Share of the faults found of which the right place was blamed.
        seed: Of the choice of faults and of clean models.
        seconds: How long it took.
        items: All that was tried.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    producer: str
    passed: bool
    device: str
    backends: tuple[str, ...]
    versions: dict[str, str]
    blamed: float
    seed: int
    seconds: float
    items: tuple[Item, ...]

    def of(self, kind: Kind, backend: str | None = None) -> list[Item]:
        """Items of one kind, and of one backend."""
        return [
            item
            for item in self.items
            if item.kind == kind and backend in (None, item.backend)
        ]


def self_test(
    backends: Sequence[str] = (),
    *,
    device: str = "cpu",
    seed: int = 0,
    progress: Tell | None = None,
) -> SelfTest:
    """Tries `verify` on this machine; some minutes for each backend.

    Args:
        backends: Keras backends; without any the one of KERAS_BACKEND or that is
            installed.
        device: `"cpu"` or `"cuda"`.
        seed: Of the choice of faults, one a family and model, and of clean models.
        progress: Called with a few words as the work goes on.

    Raises:
        ConversionError: If there is no such backend or device.
        MissingExtraError: If a framework is not installed.
        ProcessError: If a process fails.
    """
    _known("device", device, DEVICES)
    for name in backends:
        _known("backend", name, tuple(BACKENDS))
    chosen = tuple(dict.fromkeys(chosen_backend(name) for name in backends or (None,)))
    tell = progress or (lambda text: None)
    start = time.perf_counter()
    items = tuple(_items(chosen, device, seed, tell))
    faults = [item for item in items if item.kind == "fault" and item.passed]
    blamed = sum(item.blamed_right is True for item in faults) / max(1, len(faults))
    return SelfTest(
        producer=f"vit-duet {VERSION}",
        passed=all(item.passed for item in items) and blamed >= LEAST_BLAMED,
        device=device,
        backends=chosen,
        versions=_versions(chosen),
        blamed=blamed,
        seed=seed,
        seconds=time.perf_counter() - start,
        items=items,
    )


def _known(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise refusal(f"{what} {value!r}; known are {', '.join(known)}", kind="config")


def _items(
    backends: tuple[str, ...], device: str, seed: int, tell: Tell
) -> Iterator[Item]:
    for backend in (None, *backends):
        tell(f"recorded outputs: {backend or 'the torch twin'}")
        with tempfile.TemporaryDirectory(prefix="vit-duet-") as folder:
            for one, ratio in ratios(USED, backend, device, Path(folder)):
                met = ratio <= RMS_LIMIT
                yield Item(
                    kind="recorded",
                    name=f"{one.case}, {one.kind} ({one.library})",
                    backend=backend or "torch twin",
                    passed=met,
                    ratio=ratio,
                    message="" if met else f"{ratio:.3g} times the library's error",
                )
    for backend in backends:
        for base in BASES:
            names = chosen_faults(base, seed)
            tell(f"{len(names)} faults, {base}: Keras on {backend}")
            with tempfile.TemporaryDirectory(prefix="vit-duet-") as folder:
                for found in of_base(base, names, backend, Path(folder), device=device):
                    yield _of_fault(found)
    tell(f"{CLEAN} clean models")
    seeds = range(1000 * seed, 1000 * seed + CLEAN)
    with tempfile.TemporaryDirectory(prefix="vit-duet-") as folder:
        for found in clean_pairs(seeds, backends, Path(folder), device=device):
            yield _of_clean(found)


def chosen_faults(base: str, seed: int) -> list[str]:
    """One fault of every family that a base can have.

    Args:
        base: Name of one of `converters.parity.faults.BASES`.
        seed: Of the choice.
    """
    rng = np.random.default_rng([seed, list(BASES).index(base)])
    faults = faults_of(BASES[base])
    found = []
    for family in families():
        names = [fault.name for fault in faults if fault.family == family]
        if names:
            found.append(names[int(rng.integers(len(names)))])
    return found


def _of_fault(found: Outcome) -> Item:
    return Item(
        kind="fault",
        name=f"{found.fault}, {found.base}",
        backend=found.backend,
        passed=found.caught,
        found_by=found.found_by,
        blamed_right=found.right,
        message="" if found.caught else "was passed for the same model",
    )


def _of_clean(found: Outcome) -> Item:
    said = found.problem or f"failed: {', '.join(found.found_by)}"
    return Item(
        kind="clean",
        name=found.base,
        backend=found.backend,
        passed=found.passed,
        ratio=found.largest.get("outputs"),
        message="" if found.passed else said,
    )


def _versions(backends: tuple[str, ...]) -> dict[str, str]:
    found = {"vit-duet": VERSION, "python": platform.python_version()}
    for name in ("torch", "keras", *backends, "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
