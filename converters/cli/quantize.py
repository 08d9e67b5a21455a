"""`vit-duet quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from converters.cli.common import (
    Force,
    Json,
    Source,
    White,
    WithPreprocessing,
    refusals,
    status,
)
from converters.cli.predict import BatchSize
from converters.cli.reading import Reading, reads_source


@reads_source
def quantize(
    source: Source,
    target: Annotated[Path, typer.Argument(help="The .keras to write.")],
    *,
    reading: Reading,
    inputs: Annotated[
        Optional[list[str]],  # noqa: UP045  (typer reads the annotation at run time)
        typer.Option(
            "--input",
            metavar="FILE",
            help="Compare outputs on these: pictures, volumes, arrays, folders, "
            "patterns. Without: seeded noise.",
        ),
    ] = None,
    backend: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Keras' backend that runs it: tensorflow, jax or torch."),
    ] = None,
    batch_size: BatchSize = 8,
    with_preprocessing: WithPreprocessing = None,
    white: White = None,
    card: Annotated[
        bool,
        typer.Option("--card/--no-card", help="Write a model card beside it, too."),
    ] = True,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a Keras model with 8-bit weights, and say how far its outputs moved."""
    from converters.quantization.run import quantize as run

    shown = status(lines=True, quiet=as_json)
    with refusals(as_json, unwritten=True), shown as tell:
        report = run(
            source,
            target,
            **reading.arguments(),
            inputs=inputs or (),
            backend=backend,
            batch_size=batch_size,
            with_preprocessing=with_preprocessing,
            white=white,
            card=card,
            force=force,
            progress=tell,
        )
    typer.echo(report.to_json() if as_json else str(report))
