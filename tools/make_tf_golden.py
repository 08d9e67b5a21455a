"""Writes small `tf_model.h5` folders as transformers 4 saves them, with outputs.

    python tools/make_tf_golden.py

Needs transformers 4.57, TensorFlow 2.19 and tf-keras (an environment of its own:
transformers 5 has no TensorFlow models); writes `tests/golden/tf_model/`. HDF5 is
mostly padding and is kept compressed.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow
import tf_keras
import transformers

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "tf_model"

SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "image_size": 12,
    "patch_size": 4,
    "num_channels": 2,
}
MODELS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    # folder: config, model, output, fields
    "vit": (
        "ViTConfig",
        "TFViTForImageClassification",
        "logits",
        {"num_labels": 3, "layer_norm_eps": 1e-2, "hidden_act": "gelu_new"},
    ),
    "vit_bare": ("ViTConfig", "TFViTModel", "last_hidden_state", {}),
    "deit": (
        "DeiTConfig",
        "TFDeiTForImageClassification",
        "logits",
        {"num_labels": 4, "hidden_act": "relu"},
    ),
    "deit_teacher": (
        "DeiTConfig",
        "TFDeiTForImageClassificationWithTeacher",
        "logits",
        {"num_labels": 3},
    ),
}


BUILT = ("vit_bare", "deit")
"""Made before the first call, as `from_pretrained` does: their names are shorter."""


def main() -> None:
    for name, model in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            write(name, Path(folder), *model)


def write(
    name: str, folder: Path, config: str, kind: str, output: str, fields: dict[str, Any]
) -> None:
    rng = np.random.default_rng(12)
    settings = getattr(transformers, config)(**{**SMALL, **fields})
    model = getattr(transformers, kind)(settings)
    images = rng.standard_normal((3, 2, 12, 12)).astype(np.float32)
    if name in BUILT:
        model.build()
    model(images, training=False)  # makes the weights, if nothing has
    for weight in model.weights:
        values = rng.standard_normal(weight.shape) * 0.4
        weight.assign(values + ("gamma" in weight.name))
    outputs = model(images, training=False)[output].numpy()
    model.save_pretrained(folder)

    target = GOLDEN / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(folder / "config.json", target / "config.json")
    data = gzip.compress((folder / "tf_model.h5").read_bytes(), mtime=0)
    (target / "tf_model.h5.gz").write_bytes(data)
    np.savez(target / "outputs.npz", images=images, outputs=outputs)
    versions = {
        "transformers": transformers.__version__,
        "tensorflow": tensorflow.__version__,
        "tf_keras": tf_keras.__version__,
    }
    (target / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


if __name__ == "__main__":
    main()
