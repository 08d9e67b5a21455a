"""`vit-duet embed`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from converters.cli.common import (
    Json,
    Source,
    refusals,
)
from converters.cli.predict import Backend, BatchSize, Device, file_bar
from converters.cli.reading import Reading, reads_source


@reads_source
def embed(
    model: Source,
    folder: Annotated[
        Path, typer.Argument(help="A folder of pictures, volumes or arrays.")
    ],
    out: Annotated[Path, typer.Argument(help="The folder to write, or to go on with.")],
    *,
    reading: Reading,
    backend: Backend = None,
    device: Device = "cpu",
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Write all tokens, too.")
    ] = False,
    batch_size: BatchSize = 16,
    shard_size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", min=1, help="Files of one file of OUT; at most 512"),
    ] = None,
    format_: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help="Of the files: safetensors or parquet."
        ),
    ] = "safetensors",
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at a file that cannot be read.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew, whatever is in OUT of embed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the embedding of every picture, volume or array in a folder.

    The same call goes on after a stop or a kill. Files that cannot be read are listed.
    """
    from converters.inference.embed import embed as run

    with refusals(as_json), file_bar("embed", quiet=as_json) as show:
        found = run(
            model,
            folder,
            out,
            **reading.arguments(),
            backend=backend,
            device=device,
            tokens=tokens,
            batch_size=batch_size,
            shard_size=shard_size,
            format=format_,
            strict=strict,
            force=force,
            progress=show,
        )
    typer.echo(json.dumps(found.to_dict()) if as_json else str(found))
