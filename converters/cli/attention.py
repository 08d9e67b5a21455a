"""`vit-duet attention`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from converters.cli.common import (
    Force,
    Json,
    Source,
    refusals,
)
from converters.cli.predict import Backend, Device
from converters.cli.reading import Reading, reads_source


@reads_source
def attention(
    model: Source,
    input_: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="A picture, a volume or an array."),
    ],
    out: Annotated[
        Path, typer.Argument(help="A .png to draw, or a .npz for the numbers.")
    ],
    *,
    reading: Reading,
    backend: Backend = None,
    device: Device = "cpu",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw what a model attends to: in its last block, and through all (rollout).

    The input is read and prepared as predict does; a volume is shown in three slices.
    """
    from converters.inference.attention.run import attention as run

    with refusals(as_json, unwritten=True):
        report = run(
            model,
            input_,
            out,
            **reading.arguments(),
            backend=backend,
            device=device,
            force=force,
        )
    typer.echo(json.dumps(report.to_dict()) if as_json else str(report))
