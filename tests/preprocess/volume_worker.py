"""Volumes on one Keras backend, for `tests.preprocess.worker`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

import keras_vit
from tests.fill import fill
from tests.preprocess.volume_cases import CASES, scan, share
from tests.preprocess.volume_common import config, config_of

SIZES = ((13, 9, 22), (5, 3, 7), (2, 40, 10))
"""Of the volumes that graphs of no fixed size meet."""


def numpy(value: Any) -> NDArray[Any]:
    return np.asarray(ops.convert_to_numpy(value))


def goldens() -> dict[str, Any]:
    """Every case of this backend."""
    found = {}
    for name, case in share(keras.backend.backend()).items():
        made = keras_vit.Preprocess(config_of(case))(case.values[None])
        if keras.backend.standardize_dtype(made.dtype) != "float32":
            raise TypeError(f"{name}: {made.dtype}")
        found[f"volume-golden {name}"] = numpy(made)
    return found


def graphs() -> dict[str, Any]:
    """Largest differences of graphs of no fixed size (tensorflow only)."""
    if keras.backend.backend() != "tensorflow":
        return {}
    import tensorflow as tf

    found = {}
    for name, case in list(CASES.items())[::2]:
        layer = keras_vit.Preprocess(config_of(case))
        spec = tf.TensorSpec((None, None, None, None, case.channels), tf.float32)
        graph = tf.function(layer, input_signature=[spec])
        values = np.stack([case.values, case.values[::-1] * 2])
        difference = np.abs(numpy(graph(values)) - numpy(layer(values))).max()
        found[f"volume-graph {name}"] = difference / np.abs(values).max()
    return found


def whole_model(folder: Path) -> dict[str, Any]:
    """A model that begins with the raw volume, before and after it was saved."""
    intensity = {"kind": "percentile", "low": 1.0, "high": 99.0}
    model_config = config((6, 4, 10), intensity=intensity)
    vit = keras_vit.ViT(model_config)
    for weight in vit.weights:
        weight.assign(fill(weight.path, weight.shape))
    raw = keras.Input((None, None, None, 2), name="volume")
    model = keras.Model(raw, vit(keras_vit.Preprocess(model_config)(raw)))
    path = folder / "volume.keras"
    model.save(path)
    again = keras.models.load_model(path)
    found = {}
    for size in SIZES[: 2 if keras.backend.backend() == "jax" else 3]:
        volume = scan(*size, 2)[None]
        inner = keras_vit.Preprocess(model_config)(volume)
        key = f"volume-model {'x'.join(map(str, size))}"
        found[f"{key} parts"] = numpy(vit(inner))
        found[f"{key} whole"] = numpy(model(volume))
        found[f"{key} again"] = numpy(again(volume))
        found[f"{key} predict"] = again.predict(volume, verbose=0)
        pipeline = keras_vit.Pipeline(vit)
        found[f"{key} pipeline"] = numpy(pipeline(volume))
        if keras.backend.backend() != "jax":
            pipeline.save(path)
            pipeline = keras_vit.load_model(path)
        found[f"{key} piped"] = numpy(pipeline(volume))
    return found


def half_precision() -> dict[str, Any]:
    """Under a policy of half precision, and after `from_config`."""
    volume = scan(13, 9, 22, 2)[None]
    before = keras_vit.Preprocess(config(), name="front")
    keras.config.set_dtype_policy("mixed_bfloat16")
    after = keras_vit.Preprocess(config(), name="front")
    twin = keras_vit.Preprocess.from_config(after.get_config())
    integers = twin(volume.astype("int16"))
    keras.config.set_dtype_policy("float32")
    if twin.get_config() != after.get_config() or twin.name != "front":
        raise ValueError(f"{twin.get_config()}")
    return {
        "volume-half before": numpy(before(volume)),
        "volume-half after": numpy(after(volume)),
        "volume-half integers": numpy(integers),
    }


def refusals() -> dict[str, Any]:
    """What is said of volumes that are none."""
    layer = keras_vit.Preprocess(config())
    bad = {
        "layout": np.zeros((1, 2, 9, 9, 9), "float32"),
        "axes": np.zeros((9, 9, 9, 2), "float32"),
        "bool": np.zeros((1, 9, 9, 9, 2), "bool"),
    }
    found = {}
    for name, volume in bad.items():
        try:
            layer(volume)
        except (TypeError, ValueError) as error:
            found[f"volume-refused {name}"] = np.array(str(error))
    return found


def main(folder: Path) -> dict[str, Any]:
    """All of it."""
    found = goldens()
    for part in (graphs, half_precision, refusals):
        found |= part()
    return found | whole_model(folder)
