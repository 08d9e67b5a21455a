"""`vit-duet export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

from converters.cli.common import (
    Force,
    Json,
    Source,
    refusals,
    status,
)
from converters.cli.reading import Reading, reads_source


class Formats(StrEnum):
    """Values of `--format`."""

    SAVED_MODEL = "saved_model"
    ONNX = "onnx"
    LITERT = "litert"
    TORCH = "torch"
    OPENVINO = "openvino"


@reads_source
def export(
    source: Source,
    target: Annotated[
        Path,
        typer.Argument(
            help="The folder (saved_model, openvino) or the .onnx, .tflite or .pt2 to "
            "write."
        ),
    ],
    *,
    reading: Reading,
    format_: Annotated[
        Optional[Formats],  # noqa: UP045  (typer reads the annotation at run time)
        typer.Option("--format", help="What to write. Default: as the suffix says."),
    ] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Give all tokens, too.")
    ] = False,
    card: Annotated[
        bool,
        typer.Option("--card/--no-card", help="Write a model card, README.md, too."),
    ] = True,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a model that runs without us; it is run before it gets its name."""
    from converters.artifacts.run import export as run
    from converters.cards.text import client_call, serving_commands

    shown = status(lines=True, quiet=as_json)
    with refusals(as_json, unwritten=True), shown as tell:
        report = run(
            source,
            target,
            format=format_.value if format_ else None,
            **reading.arguments(),
            tokens=tokens,
            force=force,
            card=card,
            progress=tell,
        )
    if as_json:
        typer.echo(report.to_json())
        return
    typer.echo(str(report))
    for command in serving_commands(report):
        typer.echo(f"{'serve with':<15} {command}")
    typer.echo(f"{'and call':<15} {client_call(report)}")
