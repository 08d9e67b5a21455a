"""Flax' `.npz` files for `tools/make_state_dict_keys.py`.

There is no library here that writes them, but one that reads them: timm. The names and
layouts below are written by hand; timm, given such a file, must read every tensor of it
and have the canonical weights after that.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.fill import fill_weights
from vit_config import ViTConfig

Arrays = dict[str, np.ndarray]

BASE: dict[str, Any] = {
    "img_size": [24, 24],
    "patch_size": [8, 8],
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 36,
    "act_layer": "gelu_tanh",
    "num_classes": 5,
}
BIG_VISION = {**BASE, "pos_embed_tokens": "patch"}

# Numbers of the submodules: (attention, MLP, second norm).
NUMBERS = {"vit_jax": (1, 3, 2), "big_vision": (0, 0, 1)}


def dense(weights: Arrays, ours: str, theirs: str) -> Arrays:
    return {
        f"{theirs}/kernel": weights[f"{ours}.weight"].T,
        f"{theirs}/bias": weights[f"{ours}.bias"],
    }


def norm(weights: Arrays, ours: str, theirs: str) -> Arrays:
    return {
        f"{theirs}/scale": weights[f"{ours}.weight"],
        f"{theirs}/bias": weights[f"{ours}.bias"],
    }


def attention(weight: Any, bias: Any, out: Any, out_bias: Any, heads: int) -> Arrays:
    """Flax' attention: query, key, value (D, H, hd), out (H, hd, D)."""
    dim = weight.shape[1]
    found = {}
    for i, word in enumerate(("query", "key", "value")):
        part = weight[i * dim : (i + 1) * dim]
        found[f"{word}/kernel"] = part.T.reshape(dim, heads, dim // heads)
        found[f"{word}/bias"] = bias[i * dim : (i + 1) * dim].reshape(heads, -1)
    return {**found, "out/kernel": out.T.reshape(heads, -1, dim), "out/bias": out_bias}


def arrays_of(config: ViTConfig, kind: str) -> Arrays:
    w = fill_weights(config)
    inner, mlp, second = NUMBERS[kind]
    patches = w["patch_embed.proj.weight"]
    found = {
        "embedding/kernel": patches.transpose(2, 3, 1, 0),
        "embedding/bias": w["patch_embed.proj.bias"],
        **norm(w, "norm", "Transformer/encoder_norm"),
        **dense(w, "head", "head"),
    }
    where = "Transformer/posembed_input/" if kind == "vit_jax" else ""
    found[f"{where}pos_embedding"] = w["pos_embed"]
    if config.class_token:
        found["cls"] = w["cls_token"]
    for i in range(config.depth):
        ours, theirs = f"blocks.{i}", f"Transformer/encoderblock_{i}"
        parts = attention(
            w[f"{ours}.attn.qkv.weight"],
            w[f"{ours}.attn.qkv.bias"],
            w[f"{ours}.attn.proj.weight"],
            w[f"{ours}.attn.proj.bias"],
            config.num_heads,
        )
        name = f"{theirs}/MultiHeadDotProductAttention_{inner}"
        found |= {
            **{f"{name}/{leaf}": values for leaf, values in parts.items()},
            **norm(w, f"{ours}.norm1", f"{theirs}/LayerNorm_0"),
            **norm(w, f"{ours}.norm2", f"{theirs}/LayerNorm_{second}"),
            **dense(w, f"{ours}.mlp.fc1", f"{theirs}/MlpBlock_{mlp}/Dense_0"),
            **dense(w, f"{ours}.mlp.fc2", f"{theirs}/MlpBlock_{mlp}/Dense_1"),
        }
    if config.global_pool == "map":
        parts = attention(
            np.concatenate([w["attn_pool.q.weight"], w["attn_pool.kv.weight"]]),
            np.concatenate([w["attn_pool.q.bias"], w["attn_pool.kv.bias"]]),
            w["attn_pool.proj.weight"],
            w["attn_pool.proj.bias"],
            config.num_heads,
        )
        name = "MAPHead_0/MultiHeadDotProductAttention_0"
        found |= {
            "MAPHead_0/probe": w["attn_pool.latent"],
            **{f"{name}/{leaf}": values for leaf, values in parts.items()},
            **norm(w, "attn_pool.norm", "MAPHead_0/LayerNorm_0"),
            **dense(w, "attn_pool.mlp.fc1", "MAPHead_0/MlpBlock_0/Dense_0"),
            **dense(w, "attn_pool.mlp.fc2", "MAPHead_0/MlpBlock_0/Dense_1"),
        }
    if config.representation_size:
        found |= dense(w, "pre_logits", "pre_logits")
    return {name: np.ascontiguousarray(values) for name, values in found.items()}


@dataclass(frozen=True)
class JaxModel:
    """One file.

    Attributes:
        name: Its key.
        kind: `"vit_jax"` or `"big_vision"`.
        fields: The `ViTConfig`.
        prefix: What the names in the file begin with.
        timm: Arguments of timm's model; None where timm cannot read all of it.
    """

    name: str
    kind: str
    fields: dict[str, Any]
    prefix: str
    timm: dict[str, Any] | None

    builder = "timm.models.vision_transformer.VisionTransformer"

    @property
    def arguments(self) -> dict[str, Any]:
        return {"kind": self.kind, "timm": self.timm}

    def make(self) -> tuple[dict[str, Arrays], dict[str, Any], set[str]]:
        fields = {
            k: tuple(v) if isinstance(v, list) else v for k, v in self.fields.items()
        }
        config = ViTConfig(**fields)
        arrays = arrays_of(config, self.kind)
        if self.timm is not None:
            self.check(config, {self.prefix + k: v for k, v in arrays.items()})
        described = {"dialect": "", "given": self.fields, "set": {}}
        return {self.kind: arrays}, described, set()

    def check(self, config: ViTConfig, arrays: Arrays) -> None:
        """Has timm read the file."""
        from timm.models import vision_transformer

        read: set[str] = set()

        class Told(dict[str, np.ndarray]):
            def __getitem__(self, name: str) -> np.ndarray:
                read.add(name)
                return super().__getitem__(name)

        model = vision_transformer.VisionTransformer(
            img_size=24,
            patch_size=8,
            embed_dim=24,
            depth=2,
            num_heads=3,
            mlp_ratio=1.5,
            num_classes=5,
            **(self.timm or {}),
        )
        original = vision_transformer._load_npz_checkpoint
        vision_transformer._load_npz_checkpoint = lambda *_, **__: Told(arrays)
        try:
            with tempfile.TemporaryDirectory() as folder:
                model.load_pretrained(str(Path(folder) / "unused.npz"))
        finally:
            vision_transformer._load_npz_checkpoint = original
        if read != arrays.keys():
            raise ValueError(f"timm does not read {arrays.keys() - read}")
        state = model.state_dict()
        for name, values in fill_weights(config).items():
            if not np.array_equal(state[name].numpy(), values):
                raise ValueError(f"timm reads another {name}")


JAX_MODELS = [
    JaxModel("augreg", "vit_jax", BASE, "", {}),
    JaxModel("vit_jax-target", "vit_jax", BASE, "opt/target/", {}),
    # timm leaves the representation layer out.
    JaxModel("vit_jax-in21k", "vit_jax", {**BASE, "representation_size": 20}, "", None),
    JaxModel(
        "big_vision-tok",
        "big_vision",
        BIG_VISION,
        "params/",
        {"no_embed_class": True},
    ),
    JaxModel(
        "big_vision-gap",
        "big_vision",
        {**BIG_VISION, "class_token": False, "global_pool": "avg"},
        "params/",
        {"class_token": False, "global_pool": "avg", "fc_norm": False},
    ),
    JaxModel(
        "big_vision-map",
        "big_vision",
        {**BIG_VISION, "class_token": False, "global_pool": "map"},
        "params/img/",
        {"class_token": False, "global_pool": "map"},
    ),
]
