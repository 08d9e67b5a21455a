"""All of one Keras backend: python -m tests.preprocess.worker OUT."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

import keras_vit
from tests.fill import fill
from tests.preprocess import volume_worker
from tests.preprocess.common import config, config_of, image_of
from tests.preprocess.golden_cases import picture, share
from tests.saving.worker import warnings_as_errors
from vit_config.preprocess import make_plan, matrix, weights

SIZES = ((23, 37), (8, 9), (61, 7), (2, 1500))
"""Of the images that graphs of no fixed size meet."""


def numpy(value: Any) -> NDArray[Any]:
    return np.asarray(ops.convert_to_numpy(value))


def goldens() -> dict[str, Any]:
    """Every case of this backend."""
    found = {}
    for name, case in share(keras.backend.backend()).items():
        layer = keras_vit.Preprocess(
            config_of(case), white=1.0 if case.in_floats else None
        )
        made = layer(image_of(case))
        if keras.backend.standardize_dtype(made.dtype) != "float32":
            raise TypeError(f"{name}: {made.dtype}")
        found[f"golden {name}"] = numpy(made)
    return found


def sizes_in_a_graph() -> dict[str, Any]:
    """Largest differences of weights and sizes that are made by `keras.ops`.

    JAX, whose graphs have fixed sizes, computes two cases only.
    """
    found = {}
    backend = keras.backend.backend()
    cases = list(share(backend).items())
    for name, case in cases[:2] if backend == "jax" else cases:
        plan = make_plan(config_of(case))
        height, width = case.shape[:2]
        sizes = [ops.convert_to_tensor(n, dtype="int32") for n in (height, width)]
        exact, made = plan.axes(height, width), plan.axes(*sizes, ops.maximum)
        for kind, one, other in zip(("rows", "columns"), exact, made, strict=True):
            numbers = [int(numpy(n)) for n in (other.resized, other.start)]
            if numbers != [one.resized, one.start]:
                raise ValueError(f"{name} {kind}: {numbers}, not {one}")
            difference = numpy(weights(one, case.interpolation, ops)) - matrix(
                one, case.interpolation
            )
            found[f"weights {name} {kind}"] = np.abs(difference).max()
    return found


def whole_model(folder: Path) -> dict[str, Any]:
    """A model that begins with the raw image, before and after it was saved."""
    model_config = config(8, interpolation="bicubic")
    vit = keras_vit.ViT(model_config)
    for weight in vit.weights:
        weight.assign(fill(weight.path, weight.shape))
    raw = keras.Input((None, None, 3), dtype="uint8", name="image")
    model = keras.Model(raw, vit(keras_vit.Preprocess(model_config)(raw)))
    path = folder / "model.keras"
    model.save(path)
    again = keras.models.load_model(path)
    found = {}
    for height, width in SIZES:
        image = picture(height, width)[None]
        inner = keras_vit.Preprocess(model_config)(image)
        key = f"model {height} {width}"
        found[f"{key} parts"] = numpy(vit(inner))
        found[f"{key} whole"] = numpy(model(image))
        found[f"{key} again"] = numpy(again(image))
        found[f"{key} predict"] = again.predict(image, verbose=0)
    pipeline = keras_vit.Pipeline(vit)
    pipeline.save(path)
    again = keras.models.load_model(path)
    mixed = keras_vit.load_model(path, dtype="mixed_bfloat16")
    if mixed.vit.compute_dtype != "bfloat16" or mixed.preprocess.dtype != "float32":
        raise TypeError(f"{mixed.vit.compute_dtype}, {mixed.preprocess.dtype}")
    for height, width in SIZES:
        image = picture(height, width)[None]
        key = f"pipeline {height} {width}"
        found[f"{key} parts"] = numpy(vit(pipeline.preprocess(image)))
        found[f"{key} whole"] = numpy(pipeline(image))
        found[f"{key} again"] = numpy(again(image))
        found[f"{key} mixed"] = numpy(mixed(image)).astype("float32")
    return found


def compiled() -> dict[str, Any]:
    """The layer in one graph for all sizes (tensorflow), or compiled (jax)."""
    found = {}
    for interpolation in ("bicubic", "nearest"):
        for mode in ("center", "squash"):
            layer = keras_vit.Preprocess(
                config((8, 6), crop_mode=mode, interpolation=interpolation)
            )
            made = one_graph(layer)
            found |= {f"compiled {interpolation} {mode} {k}": made[k] for k in made}
    return found


def one_graph(layer: Any) -> dict[str, Any]:
    """What one graph gives for all sizes, and what the layer does without."""
    backend = keras.backend.backend()
    run: Any = layer
    if backend == "tensorflow":
        import tensorflow as tf

        spec = tf.TensorSpec((None, None, None, 3), tf.uint8)
        run = tf.function(layer, input_signature=[spec])
    if backend == "jax":
        import jax

        run = jax.jit(layer)
    found = {}
    for height, width in SIZES:
        image = ops.convert_to_tensor(picture(height, width)[None])
        found[f"{height} {width} eager"] = numpy(layer(image))
        found[f"{height} {width} graph"] = numpy(run(image))
    return found


def half_precision() -> dict[str, Any]:
    """Under a policy of half precision, and after `from_config`."""
    image = picture(23, 37)[None]
    before = keras_vit.Preprocess(config(), name="front")
    keras.config.set_dtype_policy("mixed_bfloat16")
    after = keras_vit.Preprocess(config(), white=255.0, name="front")
    twin = keras_vit.Preprocess.from_config(after.get_config())
    floats = twin(image.astype("float32"))
    keras.config.set_dtype_policy("float32")
    if twin.get_config() != after.get_config() or twin.name != "front":
        raise ValueError(f"{twin.get_config()}")
    return {
        "half before": numpy(before(image)),
        "half after": numpy(after(image)),
        "half floats": numpy(floats),
    }


def refusals() -> dict[str, Any]:
    """What is said of images that are none."""
    layer = keras_vit.Preprocess(config())
    bad = {
        "layout": np.zeros((1, 3, 9, 9), "uint8"),
        "axes": np.zeros((9, 9, 3), "uint8"),
        "floats": np.zeros((1, 9, 9, 3), "float32"),
        "integers": np.zeros((1, 9, 9, 3), "int32"),
    }
    found = {}
    for name, image in bad.items():
        try:
            layer(image)
        except (TypeError, ValueError) as error:
            found[f"refused {name}"] = np.array(str(error))
    return found


def main(out: Path) -> None:
    warnings_as_errors()
    found = goldens()
    for part in (sizes_in_a_graph, compiled, half_precision, refusals):
        found |= part()
    found |= whole_model(out.parent)
    found |= volume_worker.main(out.parent)
    np.savez(out, **found)


if __name__ == "__main__":
    with warnings.catch_warnings():
        main(Path(sys.argv[1]))
