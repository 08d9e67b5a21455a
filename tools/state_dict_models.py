"""The tiny library models of `tools/make_state_dict_keys.py`, family by family.

Each says, by hand, which canonical weight every tensor of the library comes from. The
maps for the body of a model are those of `tools/make_goldens.py`, which the golden
outputs have been made with.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from make_goldens import (
    CLASSES,
    DEAD,
    DINOV2_BASE,
    HF_BASE,
    LUCIDRAINS_BASE,
    TORCHVISION_BASE,
    Part,
    both,
    hf_dinov2_map,
    hf_tower_map,
    hf_videomae_map,
    hf_vit_map,
    lucidrains_map,
    torchvision_map,
    vector,
)
from state_dict_jax import JAX_MODELS
from state_dict_openai import OPENAI_MODELS
from state_dict_timm import TIMM_MODELS

from tests.fill import fill_weights
from vit_config import ViTConfig

Arrays = dict[str, np.ndarray]
Parts = Part | tuple[Part, ...]
Map = dict[str, Any]
Made = tuple[dict[str, Arrays], dict[str, Any], set[str]]


@dataclass(frozen=True)
class Model:
    """One model of one library.

    Attributes:
        name: Its key in the file.
        builder: Class in the library.
        arguments: What it is built with, JSON types only.
        weight_map: Library tensors in memory, from canonical weights.
        maker: Builds, fills and saves it.
        changes: Fields that the library's config does not say.
    """

    name: str
    builder: str
    arguments: dict[str, Any]
    weight_map: Callable[[ViTConfig], Map]
    maker: Callable[[Model], Made]
    changes: dict[str, Any] = field(default_factory=dict)

    def make(self) -> Made:
        """All generations of names; the config to read; names that nothing reads."""
        return self.maker(self)


def values_of(parts: Parts, weights: Arrays) -> np.ndarray:
    """One library tensor."""
    several = parts if isinstance(parts, tuple) else (parts,)
    return np.concatenate([part.of(weights[part.name]) for part in several])


def fill_model(model: torch.nn.Module, weight_map: Map, config: ViTConfig) -> set[str]:
    """Fills a library model; the names of what is not mapped, which becomes NaN."""
    weights = fill_weights(config)
    targets = {**dict(model.named_parameters()), **model.state_dict(keep_vars=True)}
    mapped = {name for name, part in weight_map.items() if part is not DEAD}
    absent = mapped - targets.keys()
    if absent:
        raise ValueError(f"not in the library: {sorted(absent)}")
    for name, target in targets.items():
        if name in mapped:
            values = values_of(weight_map[name], weights)
            if values.shape != tuple(target.shape):
                raise ValueError(f"{name}: {tuple(target.shape)} from {values.shape}")
        elif target.dtype.is_floating_point:
            values = np.full(target.shape, np.nan, np.float32)
        else:
            continue
        with torch.no_grad():
            target.copy_(torch.from_numpy(np.ascontiguousarray(values)))
    used = {
        part.name
        for name in mapped
        for part in np.atleast_1d(np.array(weight_map[name], dtype=object))
    }
    left = weights.keys() - used - {"pos_embed"}
    if left:
        raise ValueError(f"canonical weights that nothing holds: {sorted(left)}")
    return targets.keys() - mapped


def in_memory(model: torch.nn.Module) -> Arrays:
    return {name: value.numpy() for name, value in model.state_dict().items()}


# ---- transformers ---------------------------------------------------------------


def make_hf(model: Model) -> Made:
    import transformers
    from safetensors.numpy import load_file

    transformers.logging.set_verbosity_error()
    cls = getattr(transformers, model.builder)
    old = transformers.__version__.startswith("4.")
    arguments = dict(model.arguments)
    if old and "qv_bias" in arguments:
        arguments["qkv_bias"] = arguments.pop("qv_bias")
    library = cls(cls.config_class(**arguments))
    with tempfile.TemporaryDirectory() as folder:
        library.save_pretrained(folder)
        written = json.loads((Path(folder) / "config.json").read_text())
    if "vision_config" in written:
        labels = {"id2label": {str(i): str(i) for i in range(CLASSES)}}
        kept = {"architectures": written["architectures"], **labels}
        written = {**written["vision_config"], **kept}
    for name in ("transformers_version", "dtype", "torch_dtype"):
        written.pop(name, None)
    if written["model_type"] == "videomae" and "qkv_bias" in written:
        written["qv_bias"] = written.pop("qkv_bias")  # as transformers 5 reads it
    config = config_of("huggingface", written, model.changes)
    weight_map = model.weight_map(config)
    if old:
        weight_map = named_by_4(weight_map, model.builder)
    unread = fill_model(library, weight_map, config)
    with tempfile.TemporaryDirectory() as folder:
        library.save_pretrained(folder)
        saved = load_file(Path(folder) / "model.safetensors")
    generations = {"saved": saved}
    if not old:
        generations["memory"] = in_memory(library)
    described = {"dialect": "huggingface", "given": written, "set": model.changes}
    return generations, described, unread


def config_of(
    dialect: str, given: dict[str, Any], changes: dict[str, Any]
) -> ViTConfig:
    fields = given
    if dialect:
        read = ViTConfig.from_dialect(dialect, given).to_dict()
        fields = {name: value for name, value in read.items() if value is not None}
    return ViTConfig(**{**fields, **changes})


_NAMES_4 = (
    ("layers.", "encoder.layer."),
    (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
)


def named_by_4(weight_map: Map, builder: str) -> Map:
    """The same map with the names that transformers 4 has in memory."""
    renamed: Map = {}
    for now, part in weight_map.items():
        name = now
        if "CLIP" in builder or "Siglip" in builder:
            if not name.startswith(("vision_model.", "visual_projection", "class")):
                name = f"vision_model.{name}"
        elif "VideoMAE" in builder:
            for letter, word in (("q", "query"), ("v", "value")):
                name = name.replace(f".{word}.bias", f".{letter}_bias")
        elif "Dinov2" in builder:
            if ".up_proj." in name:
                continue
            if ".gate_proj." in name:
                name = name.replace("gate_proj", "weights_in")
                renamed[name] = Part(part.name)  # gate and up in one
                continue
            name = name.replace("down_proj", "weights_out")
            for theirs, old in _NAMES_4[1:5]:
                name = name.replace(theirs, old)
        else:
            for theirs, old in _NAMES_4:
                name = name.replace(theirs, old)
        renamed[name] = part
    return renamed


def vit_map(config: ViTConfig, prefix: str = "", head: str = "classifier") -> Map:
    found: Map = hf_vit_map(config, prefix)
    if not config.class_token:
        del found[f"{prefix}embeddings.cls_token"]
    if config.num_classes:
        found |= both(head, "head")
    if config.distilled:
        found |= both("distillation_classifier", "head_dist")
    if config.representation_size:
        found |= both("pooler.dense", "pre_logits")
    return found


def dinov2_map(config: ViTConfig, prefix: str = "") -> Map:
    found: Map = hf_dinov2_map(config, prefix)
    if not config.num_classes:
        found = {k: v for k, v in found.items() if not k.startswith("classifier")}
    if not config.qkv_bias:
        gone = tuple(f".{x}_proj.bias" for x in "qkv")
        found = {k: v for k, v in found.items() if not k.endswith(gone)}
    return found


def clip_map(config: ViTConfig, prefix: str = "", head: str = "") -> Map:
    found: Map = {
        **hf_tower_map(config, prefix),
        f"{prefix}embeddings.class_embedding": Part("cls_token", layout=vector),
        **both(f"{prefix}pre_layrnorm", "norm_pre"),
    }
    if not config.final_norm:
        for leaf in ("weight", "bias"):
            del found[f"{prefix}post_layernorm.{leaf}"]
    if head:
        found |= both(head, "head", bias=config.head_bias)
    return found


def siglip_map(config: ViTConfig, prefix: str = "") -> Map:
    found: Map = hf_tower_map(config, prefix)
    if config.global_pool == "map":
        head = f"{prefix}head"
        found |= {
            f"{head}.probe": Part("attn_pool.latent"),
            **both(f"{head}.attention.out_proj", "attn_pool.proj"),
            **both(f"{head}.layernorm", "attn_pool.norm"),
            **both(f"{head}.mlp.fc1", "attn_pool.mlp.fc1"),
            **both(f"{head}.mlp.fc2", "attn_pool.mlp.fc2"),
        }
        for leaf in ("weight", "bias"):
            pair = (Part(f"attn_pool.q.{leaf}"), Part(f"attn_pool.kv.{leaf}"))
            found[f"{head}.attention.in_proj_{leaf}"] = pair
    if config.num_classes:
        found |= both("classifier", "head")
    return found


def videomae_map(config: ViTConfig, prefix: str = "videomae.") -> Map:
    found: Map = hf_videomae_map(config)
    del found["videomae.embeddings.position_embeddings"]  # computed, in no file
    if not config.num_classes:
        outside = ("fc_norm", "classifier")
        found = {k: v for k, v in found.items() if not k.startswith(outside)}
    if config.final_norm:
        found |= both("videomae.layernorm", "norm")
    if not config.qkv_bias:
        gone = ("query.bias", "value.bias")
        found = {k: v for k, v in found.items() if not k.endswith(gone)}
    return {name.replace("videomae.", prefix, 1): part for name, part in found.items()}


def hf(
    builder: str,
    arguments: dict[str, Any],
    weight_map: Callable[..., Map],
    name: str = "",
    changes: dict[str, Any] | None = None,
    **rest: Any,
) -> Model:
    return Model(
        name or builder,
        builder,
        arguments,
        lambda config: weight_map(config, **rest),
        make_hf,
        changes or {},
    )


_LABELS = {"num_labels": CLASSES}
_VIT = {**HF_BASE, **_LABELS}
_SQUARE = {**_VIT, "image_size": 32, "patch_size": 8}
_DECODER = {
    "decoder_hidden_size": 12,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 8,
}
_CLIP = {**HF_BASE, "image_size": 24, "patch_size": 8}
_SIGLIP = {**HF_BASE, "image_size": 32, "patch_size": 8}
_VIDEO = {**_VIT, "image_size": 32, "num_frames": 8, "tubelet_size": 4}
_VIVIT = {
    **{k: v for k, v in _VIT.items() if k != "patch_size"},
    "image_size": 32,
    "num_frames": 8,
    "tubelet_size": [4, 8, 16],
}
_TEXT = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": 9,
}
_REGISTERS = {**DINOV2_BASE, "num_register_tokens": 2}

HF_MODELS = [
    hf("ViTModel", {**_VIT, "num_channels": 1, "qkv_bias": False}, vit_map),
    hf(
        "ViTModel",
        {**_VIT, "pooler_output_size": 20},
        vit_map,
        "ViTModel-pooled",
        {"global_pool": "token", "representation_size": 20},
    ),
    hf("ViTForImageClassification", _VIT, vit_map, prefix="vit."),
    hf(
        "ViTForMaskedImageModeling",
        {**_VIT, "patch_size": 16, "image_size": 32, "encoder_stride": 16},
        vit_map,
        prefix="vit.",
    ),
    hf("DeiTModel", _VIT, vit_map),
    hf("DeiTForImageClassification", _VIT, vit_map, prefix="deit."),
    hf(
        "DeiTForImageClassificationWithTeacher",
        _VIT,
        vit_map,
        prefix="deit.",
        head="cls_classifier",
    ),
    hf("ViTMAEModel", _SQUARE, vit_map),
    hf("ViTMAEForPreTraining", {**_SQUARE, **_DECODER}, vit_map, prefix="vit."),
    hf("ViTMSNModel", _VIT, vit_map),
    hf("ViTMSNForImageClassification", _VIT, vit_map, prefix="vit."),
    hf("IJepaModel", _VIT, vit_map),
    hf("IJepaForImageClassification", _VIT, vit_map, prefix="ijepa."),
    hf("VivitModel", _VIVIT, vit_map),
    hf("VivitForVideoClassification", _VIVIT, vit_map, prefix="vivit."),
    hf("Dinov2Model", {**DINOV2_BASE, "mlp_ratio": 2, "qkv_bias": False}, dinov2_map),
    hf(
        "Dinov2ForImageClassification",
        {**DINOV2_BASE, "mlp_ratio": 2},
        dinov2_map,
        prefix="dinov2.",
    ),
    hf(
        "Dinov2ForImageClassification",
        {**DINOV2_BASE, "use_swiglu_ffn": True},
        dinov2_map,
        "Dinov2ForImageClassification-swiglu",
        prefix="dinov2.",
    ),
    hf("Dinov2WithRegistersModel", _REGISTERS, dinov2_map),
    hf(
        "Dinov2WithRegistersForImageClassification",
        {**_REGISTERS, "use_swiglu_ffn": True},
        dinov2_map,
        prefix="dinov2_with_registers.",
    ),
    hf("CLIPVisionModel", _CLIP, clip_map),
    hf(
        "CLIPVisionModelWithProjection",
        {**_CLIP, "projection_dim": 5},
        clip_map,
        prefix="vision_model.",
        head="visual_projection",
    ),
    hf(
        "CLIPForImageClassification",
        {"vision_config": _CLIP, "text_config": _TEXT, **_LABELS},
        clip_map,
        prefix="vision_model.",
        head="classifier",
    ),
    hf("SiglipVisionModel", _SIGLIP, siglip_map),
    hf(
        "SiglipVisionModel",
        {**_SIGLIP, "vision_use_head": False},
        siglip_map,
        "SiglipVisionModel-tokens",
    ),
    hf(
        "SiglipForImageClassification",
        {"vision_config": _SIGLIP, "text_config": _TEXT, **_LABELS},
        siglip_map,
        prefix="vision_model.",
    ),
    hf("VideoMAEModel", _VIDEO, videomae_map, prefix=""),
    hf(
        "VideoMAEModel",
        {**_VIDEO, "use_mean_pooling": False, "qv_bias": False},
        videomae_map,
        "VideoMAEModel-norm",
        prefix="",
    ),
    hf("VideoMAEForVideoClassification", _VIDEO, videomae_map),
    hf(
        "VideoMAEForPreTraining",
        {**_VIDEO, **_DECODER, "patch_size": 16},
        videomae_map,
    ),
]


# ---- torchvision, vit-pytorch ---------------------------------------------------


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
