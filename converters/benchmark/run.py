"""`converters.bench`: who is faster, on this machine, in one run.

Every contender has a process of its own and gets its turns in rounds: all of them in
the first, all again, in the other order, in the second ... What else the machine does
then slows all of them, and ratios within a round hold where rates do not.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.benchmark.machine import machine
from converters.benchmark.plan import AGAINST, Planned, planned
from converters.benchmark.report import BenchReport, Contestant, Timing
from converters.benchmark.turns import Turns, usable_cores
from converters.conversion.convert import convert, origin_of
from converters.errors import named, refusal
from converters.extras import optional, twin
from converters.sources.request import ConfigLike
from converters.wording import option
from converters.workers.inputs import seeded
from converters.workers.process import BACKENDS, ProcessError, UnavailableProcessError
from vit_config import ViTConfig

if TYPE_CHECKING:
    from torch.nn import Module

SAME = 1e-3
"""Largest difference of outputs, in units of their RMS, of what is one model."""

LIMIT_S = 600.0
SEED = 0


@named("benchmark")
def bench(
    model: str | os.PathLike[str] | Module | None = None,
    *,
    config: ConfigLike | None = None,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    from_dialect: str | None = None,
    prefix: str | None = None,
    drop: str | Sequence[str] = (),
    head: str | None = None,
    base: str | os.PathLike[str] | None = None,
    against: str | None = None,
    backends: Sequence[str] = (),
    artifacts: Sequence[str | os.PathLike[str]] = (),
    batch_sizes: Sequence[int] = (1, 8),
    compile: bool = False,
    fresh: bool = False,
    repeat: int = 5,
    seconds: float = 2.0,
    threads: int | None = None,
    python: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> BenchReport:
    """Measures the torch twin, the Keras twin on its backends, and who else is asked.

    Args:
        model: Whatever `convert` reads; None with a preset: weights are drawn.
        config: The model's config, where the source does not hold one.
        preset: Name of a preset, instead of a config.
        changes: Fields that stand above config and preset.
        from_dialect: Whose names the source has; recognised if None.
        prefix: What stands before the model's names; found if None.
        drop: As in `convert`.
        head: As in `convert`.
        base: As in `convert`.
        against: `"timm"`, `"transformers"`, `"monai"` or `"keras-hub"`: that library's
            own model of the same shape with the same weights. Ratios are of it.
        backends: Keras' backends. None named: all that are installed, but with
            `against` a torch library none.
        artifacts: Exported artifacts of the same model.
        batch_sizes: Inputs of one call.
        compile: Run every torch model under `torch.compile`, too, and every Keras model
            with `jit_compile=True` (on JAX all are).
        fresh: Run Keras twins that were built anew, beside those that were loaded.
        repeat: Rounds.
        seconds: Length of each contender's turn, for each batch size.
        threads: Of each contender; None: as many as there are usable cores.
        python: Python of another environment, where all contenders run.
        progress: Called with what is being done.

    Returns:
        Rates, percentiles, memory, load times and ratios.

    Raises:
        ConversionError: If the model does not fit, if what was named cannot run here,
            or if two contenders do not give the same outputs.
        ConfigError: If the config describes no model.
    """
    cores = len(usable_cores())
    threads = threads or cores
    _check(against, backends, batch_sizes, repeat, seconds, threads)
    before = machine()
    with tempfile.TemporaryDirectory(prefix="vit-duet-bench-") as name:
        folder = Path(name)
        canonical = folder / "model.safetensors"
        if model is None:
            if preset is None or config is not None:
                alone = f"{option('preset')} alone for one with drawn weights"
                raise refusal(f"a model is needed, or {alone}", kind="config")
            title, found = preset, _drawn(canonical, preset, changes or {})
        else:
            title = origin_of(model).name
            found = convert(
                model,
                canonical,
                config=config,
                preset=preset,
                changes=changes,
                from_dialect=from_dialect,
                prefix=prefix,
                drop=drop,
                head=head,
                base=base,
                with_preprocessing=False,
                verify="none",
            ).config
        inputs = seeded("noise", found, max(batch_sizes), SEED)
        np.save(folder / "inputs.npy", inputs)
        who = planned(
            canonical,
            found,
            folder,
            against=against,
            backends=backends,
            artifacts=[Path(path) for path in artifacts],
            compile=compile,
            fresh=fresh,
        )
        job = {"inputs": "../inputs.npy", "threads": threads}
        place = None if python is None else Path(python)
        with ExitStack() as stack:
            running, left_out = _started(who, job, folder, place, stack, progress)
            told = _answers(running, batch_sizes, folder, progress, left_out)
            rounds = _rounds(told, batch_sizes, repeat, seconds, progress)
    names = {one.name for one, *_ in told}
    contestants = [
        Contestant(
            name=one.name,
            library=said["library"],
            baseline=_baseline(one, names, told[0][0].name),
            import_seconds=said["import_seconds"],
            load_seconds=said["load_seconds"],
            peak_bytes=rounds[one.name][1],
            difference=difference,
            timings=tuple(
                Timing(size, tuple(rounds[one.name][0][size])) for size in batch_sizes
            ),
        )
        for one, _, said, difference in told
    ]
    return BenchReport(
        model=title,
        unit="images" if found.spatial_dims == 2 else "volumes",
        shape=(found.in_chans, *found.img_size),
        threads=threads,
        machine=before,
        contestants=tuple(contestants),
        left_out=tuple(left_out),
    )


def _check(
    against: str | None,
    backends: Sequence[str],
    batch_sizes: Sequence[int],
    repeat: int,
    seconds: float,
    threads: int,
) -> None:
    problems = []
    if against is not None and against not in AGAINST:
        problems.append(f"against {against!r}; known are {', '.join(AGAINST)}")
    problems += [
        f"backend {name!r}; known are {', '.join(BACKENDS)}"
        for name in backends
        if name not in BACKENDS
    ]
    if not batch_sizes or min(batch_sizes) < 1:
        problems.append(f"batch sizes {list(batch_sizes)}; give one or more from 1 on")
    if len(set(batch_sizes)) < len(batch_sizes):
        problems.append(f"batch sizes {list(batch_sizes)}; each one once")
    if repeat < 1 or not seconds > 0 or threads < 1:
        problems.append(
            f"repeat {repeat}, seconds {seconds:g}, threads {threads}; all positive"
        )
    for problem in problems:
        raise refusal(problem, kind="config")


def _drawn(path: Path, preset: str, changes: Mapping[str, Any]) -> ViTConfig:
    """A model of a preset, with random weights."""
    made = ViTConfig.preset(preset)
    if changes:
        made = ViTConfig.from_dict({**made.to_dict(), **changes})
    torch = optional("torch", "torch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = twin("torch_vit").ViT(made)
    model.save_pretrained(path)
    return made


Told = tuple[Planned, Turns, dict[str, Any], float]


def _started(
    who: Sequence[Planned],
    job: Mapping[str, Any],
    folder: Path,
    python: Path | None,
    stack: ExitStack,
    progress: Callable[[str], None] | None,
) -> tuple[list[tuple[Planned, Turns, dict[str, Any]]], list[str]]:
    """Loads the contenders one after the other, so that load times do not mix."""
    found: list[tuple[Planned, Turns, dict[str, Any]]] = []
    left_out: list[str] = []
    for i, one in enumerate(who):
        if progress is not None:
            progress(f"{one.name}: loading")
        own = folder / f"contender-{i}"
        own.mkdir()
        try:
            turns = Turns(
                one.name, {**one.fields, **job}, own, one.backend, python, LIMIT_S
            )
            stack.callback(turns.stop)
            found.append((one, turns, turns.answer()))
        except ProcessError as error:
            _leave_out(one, error, left_out)
    return found, left_out


def _leave_out(one: Planned, error: ProcessError, left_out: list[str]) -> None:
    """Notes who cannot run here, unless he was asked for by name."""
    if one.named or not isinstance(error, UnavailableProcessError):
        raise refusal(str(error), kind="config") from None
    left_out.append(str(error))


def _answers(
    running: Sequence[tuple[Planned, Turns, dict[str, Any]]],
    batch_sizes: Sequence[int],
    folder: Path,
    progress: Callable[[str], None] | None,
    left_out: list[str],
) -> list[Told]:
    """Warms all up, and holds their outputs against the first one's."""
    if not running:
        raise refusal("nothing to measure: " + "; ".join(left_out), kind="config")
    wanted: dict[int, Any] = {}
    found: list[Told] = []
    for one, turns, said in running:
        if progress is not None:
            progress(f"{one.name}: warming up")
        difference = 0.0
        try:
            for size in batch_sizes:
                file = folder / "answer.npy"
                turns.ask(answer=str(file), batch=size)
                turns.ask(batch=size, seconds=0)
                output = np.load(file, allow_pickle=False)
                first = wanted.setdefault(size, output)
                difference = max(difference, _difference(output, first))
        except ProcessError as error:
            raise refusal(str(error), kind="config") from None
        if not difference <= SAME:
            raise refusal(
                f"{one.name} does not give the outputs of {running[0][0].name}: they "
                f"differ by {difference:.1e} of the RMS; at most {SAME:g}",
                kind="config",
                hint="Contenders of a bench must be one model.",
            )
        found.append((one, turns, said, difference))
    return found


def _difference(output: Any, wanted: Any) -> float:
    if output.shape != wanted.shape:
        return float("inf")
    rms = float(np.sqrt(np.mean(np.square(wanted, dtype=np.float64))))
    return float(np.max(np.abs(output - wanted))) / max(rms, 1e-30)


def _rounds(
    told: Sequence[Told],
    batch_sizes: Sequence[int],
    repeat: int,
    seconds: float,
    progress: Callable[[str], None] | None,
) -> dict[str, tuple[dict[int, list[tuple[float, ...]]], int]]:
    """Seconds of all calls by contender and batch size; and each one's peak memory."""
    calls: dict[str, dict[int, list[tuple[float, ...]]]] = {
        one.name: {size: [] for size in batch_sizes} for one, *_ in told
    }
    peaks = dict.fromkeys(calls, 0)
    for i in range(repeat):
        if progress is not None:
            progress(f"round {i + 1} of {repeat}")
        for size in batch_sizes:
            for one, turns, *_ in told if i % 2 == 0 else reversed(told):
                try:
                    said = turns.ask(batch=size, seconds=seconds)
                except ProcessError as error:
                    raise refusal(str(error), kind="config") from None
                calls[one.name][size].append(tuple(said["seconds"]))
                peaks[one.name] = said["peak_bytes"]
    return {name: (calls[name], peaks[name]) for name in calls}


def _baseline(one: Planned, names: set[str], first: str) -> str:
    """The first that is there of those that it is to be compared with."""
    return next((name for name in one.baselines if name in names), first)
