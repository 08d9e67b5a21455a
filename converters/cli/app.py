"""The command line: arguments in, reports out; the work is done elsewhere.

Exit codes: 0 done, 1 refused, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional, cast

import typer

from converters.cli import options
from converters.cli.attention import attention
from converters.cli.bench import bench
from converters.cli.common import (
    REFUSED,
    Force,
    Json,
    Source,
    White,
    WithPreprocessing,
    conversion_progress,
    refusals,
)
from converters.cli.embed import embed
from converters.cli.export import export
from converters.cli.predict import predict
from converters.cli.quantize import quantize
from converters.cli.reading import Reading, reads_source
from converters.cli.serve import serve
from converters.cli.verify import verify

if TYPE_CHECKING:
    from converters.conversion.report import Verify
    from vit_config import ViTConfig

app = typer.Typer(
    name="vit-duet",
    help="One Vision Transformer in PyTorch and in Keras: converts weights between "
    "them and proves that nothing changed on the way.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help needs no rich, and half the time
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Proof(StrEnum):
    """Values of `--verify`."""

    WEIGHTS = "weights"
    LOGITS = "logits"
    NONE = "none"


INTERRUPTED = 130


def _version(value: bool) -> None:
    if value:
        from converters.version import VERSION

        typer.echo(f"vit-duet {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version),
    ] = False,
) -> None:
    """Options before the command."""
    from converters.wording import COMMAND_LINE, speaking

    ctx.with_resource(speaking(COMMAND_LINE))


@app.command()
@reads_source
def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(help="The file or folder to write.")],
    *,
    reading: Reading,
    to: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--to", help="Whose names the target gets: monai@1.3, timm ..."),
    ] = None,
    max_shard_size: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="SIZE", help="Split the weights of a folder: 2GB, 500MB."),
    ] = None,
    verify: Annotated[
        Optional[Proof],  # noqa: UP045
        typer.Option(
            help="What is proved: weights, logits (these, and the outputs of a Keras "
            "file; its default) or none."
        ),
    ] = None,
    with_preprocessing: WithPreprocessing = None,
    white: White = None,
    card: Annotated[
        bool,
        typer.Option(
            "--card/--no-card",
            help="With --with-preprocessing, write a model card beside it, too.",
        ),
    ] = True,
    output: options.Output = None,
    num_classes: options.NumClasses = None,
    in_chans: options.InChans = None,
    inflate: options.Inflate = None,
    depth: options.Depth = None,
    patch_depth: options.PatchDepth = None,
    inflate_axis: options.InflateAxis = None,
    patch_size: options.PatchSize = None,
    image_size: options.ImageSize = None,
    fold: options.Fold = False,
    dtype: options.Dtype = None,
    allow_missing: options.AllowMissing = None,
    seed: options.Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Convert weights; the written file is proved before it gets its name."""
    from converters.conversion.convert import convert as run

    shown = conversion_progress(Path(source).name, quiet=as_json)
    with refusals(as_json, unwritten=True), shown as (show, tell):
        report = run(
            source,
            target,
            **reading.arguments(),
            to_dialect=to,
            with_preprocessing=with_preprocessing,
            white=white,
            card=card,
            output=output,
            num_classes=num_classes,
            in_chans=in_chans,
            inflate=inflate,
            depth=depth,
            patch_depth=patch_depth,
            inflate_axis=inflate_axis,
            patch_size=patch_size,
            image_size=image_size,
            fold=fold,
            dtype=dtype,
            max_shard_size=max_shard_size,
            verify=cast("Verify | None", verify and verify.value),
            allow_missing=allow_missing or (),
            seed=seed,
            force=force,
            progress=show,
            on_phase=tell,
        )
    typer.echo(report.to_json() if as_json else str(report))


app.command()(verify)
app.command()(predict)
app.command()(embed)
app.command()(export)
app.command()(bench)
app.command()(serve)
app.command()(attention)
app.command()(quantize)


@app.command()
@reads_source
def inspect(
    source: Source,
    *,
    reading: Reading,
    tensors: Annotated[
        bool, typer.Option("--tensors", help="List all tensors, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what is in a file: the model, its identity, what is not known.

    The exit code is 0 only if convert takes the file as it is.
    """
    from converters.checks.inspection import inspect as run

    with refusals(as_json):
        found = run(
            source,
            **reading.arguments(),
        )
    typer.echo(found.to_json() if as_json else found.text(tensors))
    if not found.ok:
        raise typer.Exit(REFUSED)


@app.command()
def table(
    preset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="A preset, for example vit-b16-224; none: the rules."),
    ] = None,
    config: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--config", help="The model's config, a JSON file of ours."),
    ] = None,
    dialects: Annotated[
        bool,
        typer.Option(
            "--dialects", help="Instead: whose files can be read and written."
        ),
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the dialects as Markdown.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the mapping between the two twins, as rules or for one model."""
    from converters.cli.table import dialect_table, rows

    if markdown and not dialects:
        raise typer.BadParameter("--markdown is for --dialects")
    if dialects and (preset or config):
        raise typer.BadParameter("--dialects takes no model")
    if dialects:
        typer.echo(dialect_table(as_json, markdown))
        return
    with refusals(as_json):
        found = rows(_model(preset, config))
    if as_json:
        typer.echo(json.dumps(found))
        return
    widths = [
        max(len(str(value)) for value in column) for column in zip(*found, strict=True)
    ]
    for row in found:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())


@app.command()
def demo(
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", help="Folder for what the demo makes."),
    ] = None,
    backend: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--backend", help="Keras backend: tensorflow, jax or torch."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Train for seconds only, to lower bars.")
    ] = False,
) -> None:
    """Train two small models, convert them and compare; offline."""
    from converters.extras import optional

    with refusals():
        module = optional("converters.demo", "demo")
        status = module.run(out, quick=quick, keras_backend=backend)
    if status:
        raise typer.Exit(REFUSED)


def _model(preset: str | None, config: Path | None) -> ViTConfig | None:
    from converters.conversion.convert import load_config
    from vit_config import ViTConfig

    if preset is not None and config is not None:
        raise typer.BadParameter("give a preset or --config, not both")
    return ViTConfig.preset(preset) if preset else load_config(config)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of `vit-duet` and of `python -m converters`."""
    signal.signal(signal.SIGTERM, _terminate)  # so that cleaning up happens
    try:
        app(prog_name="vit-duet", standalone_mode=True)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(REFUSED)
