"""The options that say how a source is to be read, the same of every command.

A command takes them as one argument, `reading: Reading`, and is declared with
`reads_source`, which puts the options in its place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

Text = Optional[str]  # noqa: UP045  (typer reads annotations at run time)
File = Optional[Path]  # noqa: UP045
Texts = Optional[list[str]]  # noqa: UP045


@dataclass(frozen=True)
class Reading:
    """What the options say."""

    config: Annotated[
        File,
        typer.Option(
            help="The model's config, a JSON file: ours, or the library's own."
        ),
    ] = None
    preset: Annotated[
        Text, typer.Option(help="What the file does not say: a preset, vit-b16-224.")
    ] = None
    changes: Annotated[
        Texts,
        typer.Option("--set", metavar="FIELD=JSON", help="One field of the config."),
    ] = None
    from_dialect: Annotated[
        Text,
        typer.Option("--from", help="Dialect of the tensor names: monai, timm ..."),
    ] = None
    prefix: Annotated[
        Text,
        typer.Option(help="What stands before the model's names in the source."),
    ] = None
    drop: Annotated[
        Texts,
        typer.Option(
            metavar="GLOB",
            help="Leave out tensors that are not the model's; repeatable.",
        ),
    ] = None
    head: Annotated[
        Text,
        typer.Option(
            metavar="NAME",
            help="Take this linear layer, which stands beside the model, for its head.",
        ),
    ] = None
    base: Annotated[
        File, typer.Option(help="Of a PEFT adapter: the model it was trained on.")
    ] = None

    def arguments(self) -> dict[str, Any]:
        """The same as arguments of the functions in Python.

        Raises:
            ConversionError: If what `--set` says is no field and value.
        """
        from converters.sources.request import parse_changes

        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given["changes"] = parse_changes(self.changes or [])
        given["drop"] = tuple(self.drop or ())
        return given


def reads_source(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes the options of `Reading` in place of its `reading`."""
    signature = inspect.signature(command, eval_str=True)
    options = list(inspect.signature(Reading, eval_str=True).parameters.values())
    shown = []
    for parameter in signature.parameters.values():
        if parameter.annotation is not Reading:
            shown.append(parameter)
            continue
        kind = parameter.kind
        shown += [option.replace(kind=kind) for option in options]

    @wraps(command)
    def run(**given: Any) -> None:
        own = {option.name: given.pop(option.name) for option in options}
        command(**given, reading=Reading(**own))

    run.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in shown}
    return run
