"""Runs the demo: train, convert, load elsewhere, compare, convert back."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from converters.conversion.convert import convert
from converters.demo import compare, train
from converters.demo.report import CaseReport, DemoReport, percent, table
from converters.demo.task import DemoError, Task
from converters.errors import ConversionError, printable
from converters.extras import MissingExtraError, optional
from converters.files.atomic import atomic
from converters.workers import process

if TYPE_CHECKING:
    from rich.console import Console

    import torch_vit

_REASONS = (
    ConversionError,
    DemoError,
    MissingExtraError,
    process.ProcessError,
    OSError,
)

OUT = Path("vit-duet-demo")
MODES = ("classes", "features")
PICTURE, REPORT = "demo.png", "demo.json"
SUFFIXES = (".safetensors", ".keras", "-back.safetensors")
FILES = (
    *(
        f"{task}-{mode}{s}"
        for task in ("digits", "mri")
        for mode in MODES
        for s in SUFFIXES
    ),
    PICTURE,
    REPORT,
)
"""Every file the demo writes, and replaces when run again; no other is touched."""


@dataclass(frozen=True, slots=True)
class Case:
    """One model in one mode, written and converted there and back."""

    task: Task
    mode: str
    expected: compare.Reference
    canonical: Path
    keras: Path
    back: Path


def run(
    out: Path | str | None = None,
    *,
    quick: bool = False,
    console: Console | None = None,
    keras_backend: str | None = None,
) -> int:
    """Runs the demo and prints what it does and finds.

    Args:
        out: Folder for the files it makes; None stands for `vit-duet-demo`.
        quick: Trains for a few seconds only, with lower accuracy bars.
        console: Where to print; None for standard output.
        keras_backend: `"tensorflow"`, `"jax"` or `"torch"`; None for that of
            KERAS_BACKEND, or TensorFlow.

    Returns:
        0, or 1 if a law does not hold, or something needed is not there.
    """
    from rich.console import Console

    console = console or Console()
    folder = OUT if out is None else Path(out)
    try:
        report = demo(folder, quick=quick, console=console, keras_backend=keras_backend)
    except _REASONS as error:
        console.print(f"demo: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1
    console.print()
    console.print(table(report, plain=not console.is_terminal))
    for line in _summary(report, folder):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0 if report.ok else 1


def demo(
    folder: Path,
    *,
    quick: bool = False,
    console: Console,
    keras_backend: str | None = None,
) -> DemoReport:
    """The demo itself; see `run`.

    Raises:
        DemoError: If something needed is not there.
        ProcessError: If the fresh process fails.
        MissingExtraError: If a package is not installed.
        ConversionError: If a conversion is refused.
    """
    start = time.perf_counter()
    backend = process.chosen_backend(keras_backend, extra="demo")
    torch = optional("torch", "demo")
    optional("matplotlib", "demo")
    tasks = _tasks(quick)
    _prepare(folder)

    cases = []
    for task in tasks:
        model = _train(task, console)
        cases += [_convert(task, mode, model, folder) for mode in MODES]
    _say(
        console, f"loading the {len(cases)} .keras files in a fresh process ({backend})"
    )
    with tempfile.TemporaryDirectory(prefix="vit-duet-") as scratch:
        models = [(case.keras, case.task.split.test_x) for case in cases]
        fresh = process.ask(models, backend, Path(scratch))
    found = []
    for case, answer in zip(cases, fresh.answers, strict=True):
        files = case.canonical, case.back
        found.append(compare.judge(case.task, case.mode, case.expected, answer, files))
    _draw(folder / PICTURE, cases, found, fresh)
    report = DemoReport(
        cases=tuple(found),
        backend=fresh.backend,
        keras=fresh.keras,
        torch=str(torch.__version__),
        quick=quick,
        seconds=time.perf_counter() - start,
    )
    with atomic(folder / REPORT, force=True) as path:
        path.write_text(report.to_json() + "\n", encoding="utf-8")
    return report


def _tasks(quick: bool) -> list[Task]:
    from converters.demo.data2d import digits_task
    from converters.demo.data3d import mri_task

    return [digits_task(quick), mri_task(quick)]


def _prepare(folder: Path) -> None:
    """Makes the folder, or finds out now that its files cannot be written."""
    shown = printable(folder)
    if folder.exists() and not folder.is_dir():
        raise DemoError(f"{shown} is a file; the demo needs a folder for what it makes")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise DemoError(f"{shown}: this folder cannot be written to")
    for name in FILES:
        if (folder / name).is_dir():
            raise DemoError(f"{shown}/{name} is a folder; the demo has a file there")


def _train(task: Task, console: Console) -> torch_vit.ViT:
    start = time.perf_counter()
    with _bar(console, f"training, {task.recipe.epochs} epochs", task) as tick:
        model = train.train(task, tick)
    predicted = train.outputs(model, task.split.test_x).argmax(-1)
    accuracy = percent(float((predicted == task.split.test_y).mean()))
    _say(console, task.title)
    _say(
        console,
        f"  trained in {time.perf_counter() - start:.0f} s: {accuracy} right on "
        f"{task.held_out} (guessing: {percent(task.chance)})",
    )
    return model


def _convert(task: Task, mode: str, trained: torch_vit.ViT, folder: Path) -> Case:
    model = trained if mode == "classes" else train.feature_mode(trained)
    files = [folder / f"{task.name}-{mode}{suffix}" for suffix in SUFFIXES]
    canonical, keras, back = files
    model.save_pretrained(canonical, force=True)
    convert(canonical, keras, force=True, verify="weights")  # the rest is done here
    convert(keras, back, force=True)
    return Case(task, mode, compare.reference(model, task), canonical, keras, back)


def _draw(
    path: Path, cases: list[Case], found: list[CaseReport], fresh: process.Fresh
) -> None:
    from converters.demo.picture import Panel, draw

    panels = [
        Panel(
            task=case.task,
            torch=case.expected.predict(case.expected.single),
            keras=case.expected.predict(answer.outputs),
            report=report,
        )
        for case, answer, report in zip(cases, fresh.answers, found, strict=True)
        if case.mode == "classes"
    ]
    with atomic(path, force=True) as target:
        draw(panels, fresh, target)


def _summary(report: DemoReport, folder: Path) -> Iterator[str]:
    yield ""
    yield "same predicted  the largest logit; of features, the nearest class mean"
    yield "error/noise     RMS error against PyTorch in float64, over that of PyTorch"
    yield "                itself in float32; up to 2 is rounding"
    yield "bits back       tensors that are unchanged after the way back"
    yield ""
    yield (
        f"Keras {report.keras} on {report.backend}, PyTorch {report.torch}, "
        f"on the CPU, {report.seconds:.0f} s"
    )
    if report.quick:
        yield "Quick run: short training, and lower accuracy bars than the demo's own."
    yield f"Files: {printable(folder)}{os.sep}, picture: {printable(folder / PICTURE)}"
    for failure in report.failures:
        yield f"FAILED {failure}"
    if report.ok:
        bars = " and ".join(
            f"{percent(case.bar)} ({case.task})"
            for case in report.cases
            if case.bar is not None
        )
        yield f"All laws hold; accuracy bars: {bars}."


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _bar(console: Console, label: str, task: Task) -> Iterator[Callable[[], None]]:
    """A bar for the epochs, on a terminal only."""
    if not console.is_terminal or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        row = bar.add_task(f"{task.name}: {label}", total=task.recipe.epochs)
        yield lambda: bar.advance(row)
