"""What several commands share: options, refusals, a bar that shows progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional

import typer

if TYPE_CHECKING:
    from converters.conversion.convert import Progress
    from converters.reports.phases import Announce

REFUSED = 1

Source = Annotated[
    str, typer.Argument(help="A file or folder of weights, or hf://org/name@revision.")
]
WithPreprocessing = Annotated[
    Optional[bool],  # noqa: UP045
    typer.Option(
        "--with-preprocessing/--without-preprocessing",
        help="Write a Keras model that takes images or volumes as they are. "
        "Default: as in the source.",
        show_default=False,
    ),
]
White = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--white", help="What white is in float images that it takes: 1 or 255."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]


@contextmanager
def refusals(as_json: bool = False, unwritten: bool = False) -> Iterator[None]:
    """Turns what a user can cause into a text and exit code 1; bugs stay tracebacks.

    Args:
        as_json: Print it as JSON.
        unwritten: Whether the command writes, and leaves nothing behind after an error.
    """
    from converters.errors import ConversionError
    from converters.extras import MissingExtraError
    from vit_config import ConfigError

    try:
        yield
    except ConversionError as error:
        _refuse(error.to_json() if as_json else str(error), as_json)
    except ConfigError as error:
        problems = {"ok": False, "problems": list(error.problems)}
        _refuse(json.dumps(problems) if as_json else str(error), as_json)
    except (MissingExtraError, OSError) as error:
        text = _os_text(error) if isinstance(error, OSError) else str(error)
        text += "; nothing written" if unwritten and isinstance(error, OSError) else ""
        _refuse(
            json.dumps({"ok": False, "problems": [text]}) if as_json else text, as_json
        )


def _os_text(error: OSError) -> str:
    from converters.errors import printable

    name = f"{printable(Path(str(error.filename)).name)}: " if error.filename else ""
    return f"{name}{error.strerror or error}"


def _refuse(text: str, as_json: bool) -> NoReturn:
    typer.echo(text, err=not as_json)
    raise typer.Exit(REFUSED)


@contextmanager
def conversion_progress(
    label: str, quiet: bool = False
) -> Iterator[tuple[Progress | None, Announce | None]]:
    """What `convert` tells of bytes and phases: a bar on a terminal, else lines.

    Args:
        label: What is converted.
        quiet: Show nothing at all.
    """
    if quiet or not sys.stderr.isatty():
        with phase_lines(quiet) as tell:
            yield None, tell
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    from converters.errors import printable

    columns = (
        *(TextColumn("{task.fields[label]}: {task.description}"), BarColumn()),
        *(DownloadColumn(), TimeElapsedColumn()),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, label=printable(label, 40))
        yield (
            lambda done, total: bar.update(task, completed=done, total=total),
            lambda name: bar.update(task, description=name),
        )


@contextmanager
def status(
    lines: bool = False, quiet: bool = False
) -> Iterator[Callable[[str], None] | None]:
    """What is being done: on a terminal as it goes on, elsewhere nothing or lines.

    Args:
        lines: Where standard error is no terminal, print a line for each phase.
        quiet: Show nothing there.
    """
    if not sys.stderr.isatty():
        with phase_lines(quiet or not lines) as tell:
            yield tell
        return
    from rich.console import Console

    with Console(stderr=True).status("") as shown:
        yield shown.update


@contextmanager
def phase_lines(quiet: bool = False) -> Iterator[Announce | None]:
    """A line on standard error for each phase that has ended, with its time."""
    if quiet:
        yield None
        return
    from converters.reports.phases import Phases

    phases = Phases(
        ended=lambda name, seconds: typer.echo(f"{name}: {seconds:.2f} s", err=True)
    )
    yield phases
    phases.end()
