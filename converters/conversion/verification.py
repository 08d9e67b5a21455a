"""What is proved of a written file, and whether it can be."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from converters.conversion.report import Verify
from converters.errors import refusal
from converters.extras import MissingExtraError
from converters.wording import options

RUNNABLE = ("keras", "weights.h5", "keras folder")
"""Formats that Keras itself loads."""


def default_verify(kind: str) -> Verify:
    """What is proved of a file of that format, unless told otherwise."""
    return "logits" if kind in RUNNABLE else "weights"


def backend_for(verify: str, target: Path, kind: str) -> str:
    """Keras' backend, if the proof of this target runs models; else an empty text.

    Raises:
        ConversionError: If there is no such proof, or not of such a target.
        MissingExtraError: If something that it needs is not installed.
    """
    if verify not in get_args(Verify):
        raise refusal(
            f"verify {verify!r}; known are {', '.join(get_args(Verify))}", kind="config"
        )
    if verify != "logits":
        return ""
    if kind not in RUNNABLE:
        raise refusal(
            f"{options(verify='logits')} runs the Keras model of the written file; "
            "this is none",
            file=target,
            kind="config",
        )
    from converters.conversion.outputs import ready

    try:
        return ready()
    except MissingExtraError as error:
        raise MissingExtraError(
            f"{error}\nComparing outputs, the default for Keras files, needs it; "
            f"{options(verify='weights')} proves the weights alone and runs no model."
        ) from None
