"""`.tflite`: the Keras twin on TensorFlow, by Keras' own LiteRT export.

Config, labels and all else that an artifact says of itself are in the file: a zip
archive follows the model, as the format's metadata has it for associated files, so that
`unzip -p model.tflite labels.txt` prints the labels.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.artifacts.contents import Contents
from converters.artifacts.keras_served import load, outputs
from converters.runtimes.base import CONFIG, FACTS, LABELS

if TYPE_CHECKING:
    import keras

_THEN = (1980, 1, 1, 0, 0, 0)


def write(target: Path, model: Path, contents: Contents) -> None:
    """Writes a model of any batch size, of the runtime's own operations alone.

    Args:
        target: The file.
        model: A canonical file.
        contents: What it is to hold.
    """
    import tensorflow as tf

    (takes,) = contents.signatures()[0].inputs
    spec = tf.TensorSpec((None, *contents.input_shape), tf.float32, takes.name)
    # Without TensorFlow's own operations ("Flex"): the small runtime has none of them.
    builtin = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    _served(model, contents).export(
        str(target),
        format="litert",
        input_signature=[spec],
        verbose=False,
        target_spec=builtin,
    )
    texts = {CONFIG: contents.config.to_json(), FACTS: contents.facts_json()}
    if contents.config.labels is not None:
        texts[LABELS] = contents.label_lines()
    with zipfile.ZipFile(target, "a") as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name, _THEN), text)


def _served(model: Path, contents: Contents) -> keras.Model:
    """A model whose result is a dict of all named outputs."""
    import keras

    class Served(keras.Model):  # type: ignore[misc]  # Keras is untyped
        def __init__(self) -> None:
            super().__init__(name="served")
            self.vit = load(model)
            self.built = True

        def call(self, x: Any, training: bool = False) -> dict[str, Any]:
            return outputs(self.vit, x, contents)

    return Served()
