"""Configs, files and hand-written names for the tests of dialects."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tests.fill import fill_weights
from vit_config import ViTConfig

KEYS = Path(__file__).parent / "keys"
Arrays = dict[str, np.ndarray]


def monai_config(dims: int = 3, **changes) -> ViTConfig:
    sizes = {"img_size": (16, 12, 20), "patch_size": (4, 6, 5)}
    arguments = {
        "spatial_dims": dims,
        "in_channels": 2,
        **{name: list(size[:dims]) for name, size in sizes.items()},
        "hidden_size": 24,
        "mlp_dim": 36,
        "num_layers": 2,
        "num_heads": 3,
        **changes,
    }
    return ViTConfig.from_dialect("monai", arguments)


MONAI = {
    "tanh": monai_config(classification=True),
    "bare": monai_config(2, classification=True, post_activation=None, num_classes=5),
    "features": monai_config(),
    "features_2d_bias": monai_config(2, qkv_bias=True),
    "bias": monai_config(classification=True, qkv_bias=True),
    "headless_class": monai_config().replace(class_token=True),
}


def monai_names(config: ViTConfig, arrays: Arrays, perceptron: bool) -> Arrays:
    """What MONAI 1.0 calls the tensors; written by hand, without any table."""
    patches = "patch_embedding.patch_embeddings" + (".1" if perceptron else "")
    head = "classification_head" + (".0" if config.head_act else "")
    whole = {
        "cls_token": "cls_token",
        "pos_embed": "patch_embedding.position_embeddings",
        "patch_embed.proj.weight": f"{patches}.weight",
        "patch_embed.proj.bias": f"{patches}.bias",
        "head.weight": f"{head}.weight",
        "head.bias": f"{head}.bias",
    }
    found = {}
    for name, values in arrays.items():
        theirs = whole.get(name, name)
        theirs = theirs.replace("attn.proj.", "attn.out_proj.")
        theirs = theirs.replace(".fc1.", ".linear1.").replace(".fc2.", ".linear2.")
        if name == "patch_embed.proj.weight" and perceptron:
            found[theirs] = np.moveaxis(values, 1, -1).reshape(len(values), -1)
        else:
            found[theirs] = values
    return found


def dead(config: ViTConfig, release: str) -> Arrays:
    """Tensors that MONAI saves and never reads, filled with what would be noticed."""
    width = config.embed_dim
    shapes: dict[str, tuple[int, ...]] = {}
    if release == "0.7":
        shapes["patch_embedding.cls_token"] = (1, 1, width)
    for i in range(config.depth):
        block = f"blocks.{i}"
        if release in ("1.4", "1.6"):
            shapes |= {
                f"{block}.norm_cross_attn.{n}": (width,) for n in ("weight", "bias")
            }
        if release == "1.4":
            shapes[f"{block}.cross_attn.out_proj.bias"] = (width,)
            for part in ("out_proj", "to_q", "to_k", "to_v"):
                shapes[f"{block}.cross_attn.{part}.weight"] = (width, width)
                if config.qkv_bias:
                    shapes[f"{block}.cross_attn.{part}.bias"] = (width,)
    return {n: np.full(shape, 7, np.float32) for n, shape in shapes.items()}


def monai_file(
    path: Path,
    config: ViTConfig,
    release: str = "1.6",
    perceptron: bool = False,
    prefix: str = "",
    **more: np.ndarray,
) -> Path:
    named = monai_names(config, fill_weights(config), perceptron)
    named |= dead(config, release)
    save_file({**{prefix + n: v for n, v in named.items()}, **more}, path)
    return path


def same(found: Arrays, wanted: Arrays) -> bool:
    return found.keys() == wanted.keys() and all(
        found[name].dtype == values.dtype
        and found[name].shape == values.shape
        and found[name].tobytes() == values.tobytes()
        for name, values in wanted.items()
    )


def digest(values: np.ndarray) -> str:
    data = np.ascontiguousarray(values).tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def keys(family: str) -> dict:
    return json.loads((KEYS / f"{family}.json").read_text())["models"]
