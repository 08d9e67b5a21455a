"""Writes small presets as keras-hub itself saves them, with the outputs it computes.

    python tools/make_keras_golden.py

Needs keras-hub and TensorFlow; writes `tests/golden/keras_hub/`. HDF5 is mostly padding
and is kept compressed.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import keras_hub
import numpy as np
import tensorflow

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "keras_hub"

SMALL: dict[str, Any] = {
    "image_shape": (12, 8, 2),
    "patch_size": 4,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 8,
    "mlp_dim": 12,
}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    # name: arguments of the backbone, and of the classifier
    "backbone": (
        {"use_class_token": False, "use_patch_bias": False, "use_mlp_bias": False},
        None,
    ),
    "classifier": (
        {"layer_norm_epsilon": 1e-2, "use_mha_bias": False, "dropout_rate": 0.1},
        {
            "num_classes": 3,
            "pooling": "gap",
            "intermediate_dim": 5,
            "activation": "tanh",
            "dropout": 0.2,
        },
    ),
}


def main() -> None:
    for name, (backbone, classifier) in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            write(name, Path(folder), backbone, classifier)


def write(
    name: str, folder: Path, backbone: dict[str, Any], classifier: dict[str, Any] | None
) -> None:
    rng = np.random.default_rng(11)
    model = keras_hub.models.ViTBackbone(**{**SMALL, **backbone})
    if classifier is not None:
        converter = keras_hub.layers.ViTImageConverter(
            image_size=(12, 8), scale=[1 / 127.5] * 2, offset=[-1.0] * 2
        )
        preprocessor = keras_hub.models.ViTImageClassifierPreprocessor(
            image_converter=converter
        )
        model = keras_hub.models.ViTImageClassifier(
            backbone=model, preprocessor=preprocessor, **classifier
        )
    for weight in model.weights:
        values = rng.standard_normal(weight.shape) * 0.4
        weight.assign(values + ("gamma" in weight.path))
    model.save_to_preset(str(folder))
    images = rng.standard_normal((3, *SMALL["image_shape"])).astype(np.float32)
    outputs = keras.ops.convert_to_numpy(model(images, training=False))

    target = GOLDEN / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json":
            shutil.copy(path, target / path.name)
        elif path.suffix == ".h5":
            data = gzip.compress(path.read_bytes(), mtime=0)
            (target / f"{path.name}.gz").write_bytes(data)
    np.savez(target / "outputs.npz", images=images, outputs=outputs)
    versions = {
        "keras": keras.__version__,
        "keras_hub": keras_hub.__version__,
        "tensorflow": tensorflow.__version__,
    }
    text = json.dumps({**versions, "output": str(outputs.shape)}, indent=1)
    (target / "versions.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
