"""A SavedModel, run by TensorFlow alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.runtimes.base import FACTS, Array, channels_last, read_facts

MARKER = "saved_model.pb"
"""What makes a folder one of these."""


def version_of(path: Path, marker: str = MARKER) -> Path | None:
    """The folder that a server loads: the one given, or its highest version.

    Args:
        path: A version, or the folder that holds versions.
        marker: The file that makes a folder a version.

    Returns:
        None if neither is there.
    """
    if (path / marker).is_file():
        return path
    if not path.is_dir():
        return None
    found = [one for one in path.iterdir() if one.name.isdecimal()]
    found = [one for one in found if (one / marker).is_file()]
    return max(found, key=lambda one: int(one.name), default=None)


class SavedModel:
    """The model of a folder `DST/1`.

    Args:
        path: `DST`, the folder that holds versions; or a version itself.

    Attributes:
        facts: What it says of itself.
        versions: TensorFlow's.
        signatures: Its functions by name.
    """

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        folder = version_of(path) or path
        self._loaded = tf.saved_model.load(str(folder))  # functions live as long as it
        self.signatures: dict[str, Any] = dict(self._loaded.signatures)
        facts = folder / "assets" / FACTS
        self.facts = read_facts(facts.read_bytes() if facts.exists() else "")
        self.versions = {"tensorflow": str(tf.__version__)}

    def outputs(self, x: Array) -> dict[str, Array]:
        """Every named output for prepared inputs (B, C, *spatial)."""
        _, takes = self.signatures["serving_default"].structured_input_signature
        (name,) = takes
        return self.call("serving_default", **{name: channels_last(x)})

    def call(self, signature: str, **inputs: Any) -> dict[str, Array]:
        """Every named output of a signature, for inputs as it takes them."""
        import tensorflow as tf

        given = {name: tf.constant(value) for name, value in inputs.items()}
        found = self.signatures[signature](**given)
        return {name: value.numpy() for name, value in found.items()}
