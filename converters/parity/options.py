"""What is asked of a verification, checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import refusal
from converters.judging.criteria import Criteria
from converters.parity.record import LEVELS, Level
from converters.wording import option, options as shown
from converters.workers.device import DEVICES
from converters.workers.process import BACKENDS

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Attributes:
        level: How far to go.
        backends: Keras backends to run on, if the user named them.
        keras_python: Python of another environment that has Keras.
        device: `"cpu"` or `"cuda"`.
        dtype: Type to compute in.
        inputs: The user's own inputs: files and folders.
        cases: The user's own list of cases, a CSV.
        threshold: Over which a probability is a yes.
        include_inputs: Whether inputs are shown, with attention maps.
        against_source: Whether the original library's model runs too.
        seed: Of all noise.
        criteria: The limits.
        criteria_hash: SHA-256 of the file they are from, or empty.
    """

    level: Level
    backends: tuple[str, ...]
    keras_python: Path | None
    device: str
    dtype: str
    inputs: tuple[Path, ...]
    cases: Path | None
    threshold: float | None
    include_inputs: bool
    against_source: bool
    seed: int
    criteria: Criteria
    criteria_hash: str


def options_of(**asked: Any) -> Options:
    """The options, if there is everything that they name.

    Raises:
        ConversionError: If one of them has a value that is not known.
    """
    options = Options(**asked)
    for name, value, known in (
        ("level", options.level, LEVELS),
        ("device", options.device, DEVICES),
        ("dtype", options.dtype, DTYPES),
        *(("backend", backend, tuple(BACKENDS)) for backend in options.backends),
    ):
        if value not in known:
            raise refusal(
                f"{name} {value!r}; known are {', '.join(known)}", kind="config"
            )
    python = options.keras_python
    if python is not None and not python.is_file():
        raise refusal(f"{option('keras_python')}: no such file", file=python)
    if options.threshold is not None and options.cases is None:
        text = f"{option('threshold')} is for {option('cases')}"
        raise refusal(text, kind="config")
    more = (options.inputs, options.cases, options.include_inputs)
    if options.level == "weights" and (any(more) or options.against_source):
        raise refusal(
            f"{shown(level='weights')} runs no model: {option('inputs')}, "
            f"{option('include_inputs')}, {option('cases')} and "
            f"{option('against_source')} need another level",
            kind="config",
        )
    return options
