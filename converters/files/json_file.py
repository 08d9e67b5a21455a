"""JSON objects from files that others wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters.errors import printable, refusal
from vit_config import ConfigError
from vit_config.strict_json import JsonError, strict_object


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object from a file.

    Raises:
        ConversionError: If the file cannot be read.
        ConfigError: If it is no JSON object.
    """
    try:
        return strict_object(path.read_bytes())
    except OSError as error:
        text = f"cannot be read: {error.strerror}"
        raise refusal(text, file=path, kind="config") from None
    except JsonError as error:
        raise ConfigError([printable(error, 200)], path.name) from None
