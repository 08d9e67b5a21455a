"""`vit-duet bench`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

from converters.cli.common import Force, refusals, status
from converters.cli.reading import Reading, reads_source


class Against(StrEnum):
    """Values of `--against`."""

    TIMM = "timm"
    TRANSFORMERS = "transformers"
    MONAI = "monai"
    KERAS_HUB = "keras-hub"


@reads_source
def bench(
    model: Annotated[
        Optional[str],  # noqa: UP045  (typer reads the annotation at run time)
        typer.Argument(help="What convert reads; none with --preset: drawn weights."),
    ] = None,
    *,
    reading: Reading,
    against: Annotated[
        Optional[Against],  # noqa: UP045
        typer.Option(help="That library's own model, with the same weights."),
    ] = None,
    backend: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="Keras backend: tensorflow, jax or torch; repeatable. Default: all "
            "that are installed, but none against a torch library."
        ),
    ] = None,
    artifact: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="An exported artifact of the same model; repeatable."),
    ] = None,
    batch_size: Annotated[
        Optional[list[int]],  # noqa: UP045
        typer.Option(
            metavar="N", help="Inputs of one call; repeatable. Default: 1 and 8."
        ),
    ] = None,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Run models compiled, too.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run Keras twins built anew, too.")
    ] = False,
    repeat: Annotated[int, typer.Option(metavar="N", help="Rounds.")] = 5,
    seconds: Annotated[
        float, typer.Option(metavar="S", help="Length of each turn in a round.")
    ] = 2.0,
    threads: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", help="Of each contender. Default: all cores."),
    ] = None,
    python: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Python of another environment, where all contenders run."),
    ] = None,
    json_: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", metavar="OUT.json", help="Write all; - prints it."),
    ] = None,
    force: Force = False,
) -> None:
    """Measure the twins, and others beside them, in turns; print ratios."""
    from converters.benchmark.run import bench as run
    from converters.files.atomic import atomic, check_output

    to_file = json_ is not None and str(json_) != "-"
    with refusals(), status() as tell:
        if json_ is not None and to_file:
            check_output(json_, (), force)
        report = run(
            model,
            **reading.arguments(),
            against=None if against is None else against.value,
            backends=backend or (),
            artifacts=artifact or (),
            batch_sizes=batch_size or (1, 8),
            compile=compile_,
            fresh=fresh,
            repeat=repeat,
            seconds=seconds,
            threads=threads,
            python=python,
            progress=tell,
        )
        if json_ is not None and to_file:
            with atomic(json_, force=force) as path:
                path.write_text(report.to_json() + "\n", encoding="utf-8")
    typer.echo(report.to_json() if json_ is not None and not to_file else str(report))
