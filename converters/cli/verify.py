"""`vit-duet verify`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from converters.cli.common import (
    REFUSED,
    Force,
    refusals,
    status,
)
from converters.cli.reading import Reading, reads_source

if TYPE_CHECKING:
    from converters.parity.page import Picture

from converters.cli.self_test import check_alone, tried

Text = Optional[str]  # noqa: UP045  (typer reads annotations at run time)
File = Optional[Path]  # noqa: UP045


class Levels(StrEnum):
    """Values of `--level`."""

    WEIGHTS = "weights"
    LOGITS = "logits"
    LAYERS = "layers"
    GRADIENTS = "gradients"
    TRAINING = "training"


@reads_source
def verify(
    ctx: typer.Context,
    a: Annotated[
        Text, typer.Argument(help="A file or folder of weights, or hf://org/name.")
    ] = None,
    b: Annotated[
        Text,
        typer.Argument(
            help="What shall be the same model as A; also an exported model, or the "
            "URL of a served one."
        ),
    ] = None,
    *,
    reading: Reading,
    level: Annotated[
        Levels, typer.Option(help="How far to look; each includes those before it.")
    ] = Levels.LOGITS,
    backend: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Keras backend: tensorflow, jax or torch; repeatable."),
    ] = None,
    keras_python: Annotated[
        File, typer.Option(help="Python of another environment, to run Keras there.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[
        str, typer.Option(help="Compute in float32, bfloat16 or float16.")
    ] = "float32",
    inputs: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            "--input",
            metavar="FILE_OR_FOLDER",
            help="Pictures, volumes or arrays of your own; repeatable.",
        ),
    ] = None,
    include_inputs: Annotated[
        bool,
        typer.Option(
            "--include-inputs",
            help="Show up to four of the inputs in the --report page, with attention "
            "maps. Patients' images leave this machine with that page, and only so.",
        ),
    ] = False,
    cases: Annotated[
        File,
        typer.Option(
            metavar="CASES.csv",
            help="A list with the header path,label: count decisions that change.",
        ),
    ] = None,
    threshold: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Of --cases: over which a probability is a yes."),
    ] = None,
    case_rows: Annotated[
        File,
        typer.Option(
            metavar="OUT.csv", help="Write every case's decisions, by its hash."
        ),
    ] = None,
    against_source: Annotated[
        bool,
        typer.Option("--against-source", help="Run A's own library's model, too."),
    ] = False,
    criteria: Annotated[
        File, typer.Option(help="Acceptance limits: a JSON file.")
    ] = None,
    seed: Annotated[int, typer.Option(help="What all noise is drawn from.")] = 0,
    check: Annotated[
        File,
        typer.Option(
            metavar="RECORD.json", help="Do again what a record says, and compare."
        ),
    ] = None,
    report: Annotated[
        File, typer.Option(metavar="OUT.html", help="Write a page to read.")
    ] = None,
    json_: Annotated[
        File,
        typer.Option("--json", metavar="OUT.json", help="Write the record; - prints."),
    ] = None,
    markdown: Annotated[
        File, typer.Option(metavar="OUT.md", help="Write a comment; - prints it.")
    ] = None,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test",
            help="Try this checker on this machine: recorded outputs of the libraries, "
            "faults, clean pairs. Needs no A and B; minutes for each --backend.",
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Check whether two models are the same, and record what was checked.

    A is held to be right. Both are anything that convert reads. The exit code is 0 only
    if all that was asked for was run and passed.
    """
    from converters.errors import named, refusal
    from converters.parity.output import check_targets, write_targets
    from converters.parity.text import as_text
    from converters.parity.verify import verify as run

    if self_test:
        with refusals(), named("self-test"), status() as tell:
            check_alone(ctx)
            text, passed = tried(backend or (), device, seed, json_, force, tell)
        typer.echo(text)
        raise typer.Exit(0 if passed else REFUSED)
    printing = Path("-") in (json_, markdown)
    shown = status(lines=True, quiet=printing)
    with refusals(), named("verification"), shown as tell:
        if a is None or b is None:
            raise refusal(
                "two models are needed, A and B",
                kind="config",
                hint="vit-duet verify A B; --self-test alone needs none.",
            )
        if case_rows is not None and cases is None:
            raise refusal("--case-rows is for --cases", kind="config")
        if include_inputs and report is None:
            raise refusal(
                "--include-inputs is for --report: pictures are in no record and no "
                "comment",
                kind="config",
            )
        pictures: list[Picture] | None = [] if include_inputs else None
        targets = {"html": report, "json": json_, "markdown": markdown}
        targets["cases"] = case_rows
        check_targets(targets, force)
        found = run(
            a,
            b,
            **reading.arguments(),
            level=level.value,
            backends=backend or (),
            keras_python=keras_python,
            device=device,
            dtype=dtype,
            inputs=inputs or (),
            cases=cases,
            threshold=threshold,
            against_source=against_source,
            criteria=criteria,
            seed=seed,
            pictures=pictures,
            record=check,
            progress=tell,
        )
        printed = write_targets(found, targets, force, pictures or ())
    typer.echo(printed or as_text(found))
    if not found.passed:
        raise typer.Exit(REFUSED)
