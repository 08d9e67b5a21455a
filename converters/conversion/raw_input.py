"""Whether a written Keras model has its preprocessing inside."""

from __future__ import annotations

from pathlib import Path

from converters.arguments import check_flag, wrong
from converters.errors import refusal
from converters.files.base import Raw, Reader
from converters.wording import option
from vit_config import ViTConfig
from vit_config.preprocess_volume import plan_of

WHOLE = ("keras", "keras folder")
"""Formats that hold a whole model, and not only its weights."""

WHITES = (1.0, 255.0)


def check_asked(
    kind: str, target: Path, asked: bool | None, white: float | None
) -> None:
    """Refuses, before anything is read, what such a target cannot hold.

    Args:
        kind: Format of the target.
        target: The file or folder, for the message.
        asked: Whether preprocessing is to be inside; None: as in the source.
        white: What white is in float images.

    Raises:
        ConversionError: If the target is no Keras model, or `white` no level.
    """
    if asked is not None:
        check_flag("with_preprocessing", asked)
    if white is not None and (isinstance(white, bool) or white not in WHITES):
        raise wrong("white", white, "1.0 or 255.0")
    if white is not None and not asked:
        raise refusal(
            f"{option('white')} is for {option('with_preprocessing')}: the model "
            "itself takes what is prepared",
            file=target,
            kind="config",
        )
    if asked and kind not in WHOLE:
        raise refusal(
            f"{option('with_preprocessing')} writes a Keras model; a {kind} file holds "
            "weights",
            file=target,
            hint="Name a target that ends in .keras. The config in every file says "
            "what its preprocessing is.",
            kind="config",
        )


def raw_input(
    reader: Reader,
    kind: str,
    target: Path,
    asked: bool | None,
    white: float | None,
    config: ViTConfig,
) -> Raw | None:
    """What the written model takes as it is; None: what is prepared elsewhere.

    Args:
        reader: The source.
        kind: Format of the target.
        target: The file or folder, for the message.
        asked: Whether preprocessing is to be inside; None: as in the source.
        white: What white is in float images; None: as in the source.
        config: The written model's.

    Raises:
        ConfigError: If the config does not say all of its preprocessing.
    """
    before: Raw | None = getattr(reader, "raw", None)
    if asked is None:
        asked = before is not None and kind in WHOLE
    if not asked:
        return None
    plan_of(config)
    if white is None and before is not None:
        return before
    return Raw(white)
