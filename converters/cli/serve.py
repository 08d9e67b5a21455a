"""`vit-duet serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from converters.cli.common import refusals


def serve(
    artifact: Annotated[
        Path, typer.Argument(help="What vit-duet export wrote: a file or a folder.")
    ],
    port: Annotated[
        int, typer.Option(help="The port; 0 takes one that is free.")
    ] = 8501,
    host: Annotated[
        str,
        typer.Option(help="The address to listen at; by default this machine alone."),
    ] = "127.0.0.1",
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The model's name in URLs; by default after the file."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--max-request", metavar="MB", help="Of one request, in MB.")
    ] = 64,
) -> None:
    """Serve an exported model in TensorFlow Serving's REST form, until Ctrl-C.

    An example server for trying and testing: one model, one process, no password.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from converters.serving.run import serve as run

    with refusals():
        run(
            artifact,
            port=port,
            host=host,
            name=name,
            limit=limit * 2**20,
            ready=typer.echo,
        )
