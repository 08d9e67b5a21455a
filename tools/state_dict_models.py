"""The tiny library models of `tools/make_state_dict_keys.py`, family by family.

Each says, by hand, which canonical weight every tensor of the library comes from. The
maps for the body of a model are those of `tools/make_goldens.py`, which the golden
outputs have been made with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from make_goldens import (
    LUCIDRAINS_BASE,
    TORCHVISION_BASE,
    lucidrains_map,
    torchvision_map,
)
from state_dict_base import Made, Map, Model, config_of, fill_model, in_memory
from state_dict_jax import JAX_MODELS
from state_dict_openai import OPENAI_MODELS
from state_dict_timm import TIMM_MODELS
from state_dict_transformers import HF_MODELS

from vit_config import ViTConfig


def make_torchvision(model: Model) -> Made:
    """Also the names of 0.12, which the library still reads."""
    from torchvision.models import VisionTransformer

    library = VisionTransformer(**model.arguments)
    config = config_of("torchvision", model.arguments, {})
    unread = fill_model(library, model.weight_map(config), config)
    now = in_memory(library)
    older = {}
    for name, values in now.items():
        old = name.replace(".mlp.0.", ".mlp.linear_1.")
        older[old.replace(".mlp.3.", ".mlp.linear_2.")] = values
    fresh = VisionTransformer(**model.arguments)
    fresh.load_state_dict({name: torch.from_numpy(v) for name, v in older.items()})
    for name, values in in_memory(fresh).items():
        if not np.array_equal(values, now[name]):
            raise ValueError(f"{name}: not what the older name holds")
    described = {"dialect": "torchvision", "given": model.arguments, "set": {}}
    return {"memory": now, "older": older}, described, unread


def make_lucidrains(model: Model) -> Made:
    from importlib import import_module

    module, name = model.builder.split(".")
    arguments = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in model.arguments.items()
    }
    library = getattr(import_module(f"vit_pytorch.{module}"), name)(**arguments)
    given = {"class": model.builder, **model.arguments}
    config = config_of("lucidrains", given, {})
    unread = fill_model(library, model.weight_map(config), config)
    described = {"dialect": "lucidrains", "given": given, "set": {}}
    return {"memory": in_memory(library)}, described, unread


def lucidrains(builder: str, kind: str, name: str = "", **changes: Any) -> Model:
    arguments = {**LUCIDRAINS_BASE, **changes}
    if "3d" in builder:
        del arguments["patch_size"]
        arguments |= {"image_size": [24, 16], "image_patch_size": [8, 4]}
        arguments |= {"frames": 32, "frame_patch_size": 16}

    def weight_map(config: ViTConfig) -> Map:
        found = lucidrains_map(config, kind)
        if kind == "simple_vit":
            del found["pos_embedding"]  # computed, in no file
        if not config.num_classes:
            found = {k: v for k, v in found.items() if not k.startswith("mlp_head")}
        return found

    return Model(name or builder, builder, arguments, weight_map, make_lucidrains)


FAMILIES: dict[str, tuple[tuple[str, ...], list[Any]]] = {
    "timm": (("timm",), TIMM_MODELS),
    "huggingface": (("transformers",), HF_MODELS),
    "huggingface4": (("transformers",), HF_MODELS),
    "torchvision": (
        ("torchvision",),
        [
            Model(name, "VisionTransformer", args, torchvision_map, make_torchvision)
            for name, args in (
                ("vit", TORCHVISION_BASE),
                ("representation", {**TORCHVISION_BASE, "representation_size": 20}),
            )
        ],
    ),
    "lucidrains": (
        ("vit-pytorch",),
        [
            lucidrains("vit.ViT", "vit"),
            lucidrains("vit.ViT", "vit", "vit.ViT-mean", pool="mean", channels=1),
            lucidrains("vit.ViT", "vit", "vit.ViT-tokens", num_classes=0),
            lucidrains("vit_3d.ViT", "vit_3d"),
            lucidrains("vit_3d.ViT", "vit_3d", "vit_3d.ViT-mean", pool="mean"),
            lucidrains("simple_vit.SimpleViT", "simple_vit"),
            lucidrains("simple_vit_3d.SimpleViT", "simple_vit", channels=1),
        ],
    ),
    "openai_clip": (("open_clip_torch", "timm"), OPENAI_MODELS),
    "jax_npz": (("timm",), JAX_MODELS),
}
