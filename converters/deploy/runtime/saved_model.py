"""A SavedModel, run by TensorFlow alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.deploy.runtime.base import FACTS, Array, channels_last, read_facts


class SavedModel:
    """The model of a folder `DST/1`.

    Args:
        path: `DST`, the folder that holds the version; or the version itself.

    Attributes:
        facts: What it says of itself.
        versions: TensorFlow's.
        signatures: Its functions by name.
    """

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        folder = path if (path / "saved_model.pb").exists() else path / "1"
        self._loaded = tf.saved_model.load(str(folder))  # functions live as long as it
        self.signatures: dict[str, Any] = dict(self._loaded.signatures)
        self.facts = read_facts((folder / "assets" / FACTS).read_bytes())
        self.versions = {"tensorflow": str(tf.__version__)}

    def outputs(self, x: Array) -> dict[str, Array]:
        """Every named output for prepared inputs (B, C, *spatial)."""
        (name,) = (one["name"] for one in self.facts["signatures"][0]["inputs"])
        return self.call("serving_default", **{name: channels_last(x)})

    def call(self, signature: str, **inputs: Any) -> dict[str, Array]:
        """Every named output of a signature, for inputs as it takes them."""
        import tensorflow as tf

        given = {name: tf.constant(value) for name, value in inputs.items()}
        found = self.signatures[signature](**given)
        return {name: value.numpy() for name, value in found.items()}
