"""`vit-duet predict`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Optional

import typer

from converters.cli.common import (
    REFUSED,
    Json,
    Source,
    refusals,
)
from converters.cli.reading import Reading, reads_source

Backend = Annotated[
    Optional[str],  # noqa: UP045  (typer reads the annotation at run time)
    typer.Option(
        help="Run the Keras twin: on tensorflow, jax or torch. Without: the torch "
        "twin, but Keras for a .keras."
    ),
]
Device = Annotated[str, typer.Option(help="Of the torch twin: cpu or cuda.")]
BatchSize = Annotated[
    int, typer.Option(metavar="N", min=1, help="Inputs of one call of the model.")
]


@reads_source
def predict(
    model: Source,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Pictures, volumes, arrays, folders, patterns."
        ),
    ],
    *,
    reading: Reading,
    backend: Backend = None,
    device: Device = "cpu",
    top_k: Annotated[
        int, typer.Option(metavar="N", min=1, help="Classes to show of each input.")
    ] = 5,
    batch_size: BatchSize = 8,
    as_json: Json = False,
) -> None:
    """Ask a model about pictures, volumes or arrays.

    They get the preprocessing that the model's config states; a model that states none
    is refused. The exit code is 1 if any of them could not be read.
    """
    from converters.inference.predict import predict as run

    with refusals(as_json), file_bar("predict", quiet=as_json) as show:
        found = run(
            model,
            inputs,
            **reading.arguments(),
            backend=backend,
            device=device,
            top_k=top_k,
            batch_size=batch_size,
            progress=show,
        )
    if as_json:
        typer.echo(found.to_json())
    else:
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if terminal else 10_000
        typer.echo(found.text(width, terminal))
    if not found.ok:
        raise typer.Exit(REFUSED)


@contextmanager
def file_bar(
    label: str, quiet: bool = False
) -> Iterator[Callable[[int, int], None] | None]:
    """A bar of files with their rate and the time that remains, on a terminal only."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Files a second, as lately measured."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.1f}/s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        begun = False

        def show(done: int, total: int) -> None:
            nonlocal begun
            if begun:
                bar.update(task, completed=done)
            else:  # what an earlier run did is no speed of this one
                bar.reset(task, completed=done, total=total)
            begun = True

        yield show
