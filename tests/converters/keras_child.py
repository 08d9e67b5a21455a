"""Runs Keras in a process of its own: python keras_child.py FOLDER.

Reads the canonical and the converted files that the tests put into FOLDER, saves models
as Keras saves them, loads what was converted, and writes what it saw to seen.json.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import keras
import numpy as np

import keras_vit
from converters.mapping.pipe import np_dtype
from tests.converters.cases import CASES, pipeline_config, weights
from tests.fill import image

warnings.filterwarnings("ignore")


def main(folder: Path) -> None:
    seen = {name: case(folder, name) for name in CASES}
    seen["special"] = special(folder)
    (folder / "seen.json").write_text(json.dumps(seen))


def case(folder: Path, name: str) -> dict:
    config = CASES[name]
    path = folder / name
    model = keras_vit.ViT.from_pretrained(path.with_suffix(".safetensors"))
    model.save(f"{path}.saved.keras")
    model.save_weights(f"{path}.saved.weights.h5")
    loaded = keras.models.load_model(f"{path}.keras")
    seen = {
        "weights": {model.relative_path(w): list(w.shape) for w in model.weights},
        "assigned": equal(model, config),
        "load_model": equal(loaded, config),
        "same_outputs": same_outputs(model, loaded),
    }
    for weight in loaded.weights:
        weight.assign(keras.ops.zeros_like(weight))
    seen["cleared"] = not equal(loaded, config)
    loaded.load_weights(f"{path}.weights.h5")
    seen["load_weights"] = equal(loaded, config)
    return seen


def equal(model, config, dtype="float32") -> bool:
    """Whether the model holds the canonical weights, mapped by hand in plain numpy."""
    found = {model.relative_path(w): w for w in model.weights}
    from vit_config.weights import weight_table

    arrays = weights(config, dtype)
    for weight in weight_table(config):
        array = arrays[weight.name]
        if weight.path.endswith("kernel") and array.ndim > 2:
            array = np.moveaxis(array, (0, 1), (-1, -2))
        elif weight.path.endswith("kernel"):
            array = array.T
        value = keras.ops.convert_to_numpy(found.pop(weight.path))
        if value.dtype != np_dtype(dtype) or value.tobytes() != array.tobytes():
            return False
    return not found


def same_outputs(a, b) -> bool:
    shape = (2, a.config.in_chans, *a.config.img_size)
    x = np.moveaxis(image(shape), 1, -1)
    ya, yb = (keras.ops.convert_to_numpy(model(x)) for model in (a, b))
    return bool(ya.tobytes() == yb.tobytes())


def special(folder: Path) -> dict:
    seen: dict = {}
    config = CASES["classes"]
    for dtype in ("bfloat16", "float16"):
        model = keras_vit.load_model(folder / f"{dtype}.keras")
        seen[dtype] = [model.dtype_policy.name, equal(model, config, dtype)]
        model.save(folder / f"{dtype}.saved.keras")
    dropout = config.replace(drop_rate=0.1, proj_drop_rate=0.1)
    trained = keras_vit.ViT(dropout)
    trained.compile("adam", "mse", metrics=["mae"])
    shape = (4, *config.img_size, config.in_chans)
    trained.fit(np.ones(shape, "float32"), np.ones((4, 5), "float32"), verbose=0)
    trained.save(folder / "trained.keras")
    trained.save_pretrained(folder / "trained.safetensors")
    lora = keras_vit.ViT.from_pretrained(folder / "classes.safetensors")
    for layer in lora._flatten_layers():
        if hasattr(layer, "enable_lora") and layer.name == "qkv":
            layer.enable_lora(2)
            layer.lora_kernel_b.assign(keras.ops.ones(layer.lora_kernel_b.shape))
    lora.save(folder / "lora.keras")
    lora.save_pretrained(folder / "lora.safetensors")
    merged = lora.blocks[0].attn.qkv.kernel
    np.save(folder / "lora.npy", keras.ops.convert_to_numpy(merged))
    quantised = keras_vit.ViT.from_pretrained(folder / "classes.safetensors")
    quantised.quantize("int8")
    quantised.save(folder / "int8.keras")
    quantised.save_weights(folder / "int8.weights.h5")
    seen["int8"] = message(
        lambda: quantised.save_pretrained(folder / "int8.safetensors")
    )
    for name in ("pipeline", "floats"):
        model = keras.models.load_model(folder / f"{name}.keras")
        seen[name] = [
            type(model).__name__,
            equal(model.vit, pipeline_config()),
            model.preprocess.white,
        ]
        model.save(folder / f"{name}.saved.keras")
    outer = keras.Sequential([keras_vit.ViT(config)])
    outer.build((None, *shape[1:]))
    outer.save(folder / "outer.keras")
    keras.utils.set_random_seed(0)
    swapped = keras_vit.ViT.from_pretrained(folder / "classes.keras", num_classes=3)
    seen["head"] = [
        list(swapped.head.kernel.shape),
        list(swapped.config.source.steps),
        float(keras.ops.std(swapped.head.kernel)) > 0,
        bool(np.array_equal(swapped.cls_token, weights(config)["cls_token"])),
    ]
    sized = keras_vit.ViT.from_pretrained(folder / "classes.keras", image_size=(16, 20))
    sized.save_pretrained(folder / "sized.safetensors")
    seen["rates"] = []
    for name in ("classes.keras", "classes.safetensors"):
        tuned = keras_vit.ViT.from_pretrained(
            folder / name, drop_rates={"proj_drop_rate": 0.5}, dtype="mixed_bfloat16"
        )
        policies = {layer.dtype_policy.name for layer in tuned.blocks}
        changed = config.replace(proj_drop_rate=0.5)
        seen["rates"].append(
            [tuned.config == changed, sorted(policies), equal(tuned, config, "float32")]
        )
    model = keras_vit.ViT.from_pretrained(folder / "classes.keras")
    for name in ("again.keras", "again.safetensors", "again.weights.h5", "again"):
        model.save_pretrained(folder / name)
    seen["exists"] = message(lambda: model.save_pretrained(folder / "again.keras"))
    return seen


def message(action) -> str:
    try:
        action()
    except ValueError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
