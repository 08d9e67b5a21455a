"""Writes tests/compat/VERSION/: small files of this release, to be kept for ever.

KERAS_BACKEND=torch python tools/make_compat.py

A test loads them with every later version. They are written once, when a version is
released: the files of a version that exists are never written again. What Keras wrote
is kept gzipped, since HDF5 takes a kilobyte for every layer.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import keras  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

import keras_vit  # noqa: E402
import torch_vit  # noqa: E402
from tests.fill import fill_weights, image  # noqa: E402
from vit_config import ViTConfig  # noqa: E402

CONFIGS: dict[str, dict[str, Any]] = {
    "classify_2d": {
        "img_size": (12, 8),
        "patch_size": (4, 2),
        "embed_dim": 8,
        "depth": 2,
        "num_heads": 2,
        "mlp_dim": 12,
        "reg_tokens": 1,
        "pre_norm": True,
        "drop_rate": 0.1,
        "num_classes": 3,
        "labels": ("cat", "dog", "newt"),
        "problem_type": "single_label",
    },
    "features_3d": {
        "spatial_dims": 3,
        "img_size": (8, 6, 4),
        "patch_size": (4, 3, 2),
        "in_chans": 1,
        "embed_dim": 6,
        "depth": 1,
        "num_heads": 3,
        "mlp_dim": 10,
        "class_token": False,
        "pos_embed": "sincos",
        "init_values": 0.1,
        "global_pool": "none",
    },
}
LIMIT = 200_000


def write(folder: Path, name: str) -> None:
    """Writes one model in three formats, with an input and its exact output."""
    config = ViTConfig(**CONFIGS[name])
    weights = fill_weights(config)
    twin = torch_vit.ViT(config).eval()
    tensors = {key: torch.from_numpy(value) for key, value in weights.items()}
    twin.load_state_dict(tensors, strict=True)
    twin.save_pretrained(folder / f"{name}.safetensors")
    model = keras_vit.ViT.from_pretrained(folder / f"{name}.safetensors")
    model.save(folder / f"{name}.keras")
    model.save_weights(folder / f"{name}.weights.h5")
    for path in (folder / f"{name}.keras", folder / f"{name}.weights.h5"):
        packed = gzip.compress(path.read_bytes(), mtime=0)
        path.with_name(f"{path.name}.gz").write_bytes(packed)
        path.unlink()
    x = image((3, config.in_chans, *config.img_size))
    with torch.no_grad():
        y = twin.double()(torch.from_numpy(x).double()).numpy()
    np.savez(folder / f"{name}.npz", x=x, y=y)


def main() -> None:
    """Writes the folder of the current version."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    version = metadata.version("vit-duet").rsplit(".", 1)[0]
    folder = ROOT / "tests" / "compat" / version
    if folder.exists():
        sys.exit(f"{folder} exists: the files of a version are written once")
    folder.mkdir(parents=True)
    for name in CONFIGS:
        write(folder, name)
    packages = ("vit-duet", "keras", "torch", "safetensors", "h5py", "numpy")
    made_with = {package: metadata.version(package) for package in packages}
    text = json.dumps({**made_with, "backend": keras.backend.backend()}, indent=2)
    (folder / "versions.json").write_text(text + "\n", "utf-8")
    total = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {total} bytes")
    if total > LIMIT:
        sys.exit(f"more than {LIMIT} bytes")


if __name__ == "__main__":
    main()
