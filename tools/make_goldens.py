r"""Makes `converters/parity/selftest/goldens`: what the real libraries compute.

Run in an environment of its own, from the root of the repository:

    python -m venv peers
    peers/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 \
        transformers==5.23.0 monai==1.6.1 vit-pytorch==1.26.11 \
        safetensors pydantic einops
    peers/bin/python tools/make_goldens.py

For each case the real library builds a tiny model. Its weights come from `tests.fill`,
by canonical name, through a map written by hand in this file: nothing of `converters`
or of the twins is used, so a mistake there cannot hide here. The map is strict: every
parameter of the library filled, every scalar of every canonical weight used once.
Parameters that the library has but never reads are filled with NaN, which proves it.

Written are the library's own float32 outputs, and those of the same library model in
float64, which is what both twins are judged against.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.fill import FAINT, InputKind, fill_weights, image  # noqa: E402
from vit_config import ViTConfig  # noqa: E402

FORMAT = 1
BATCH = 64
"""Inputs per kind: as many as the RMS rule wants pooled logits from."""

FOLDER = ROOT / "converters" / "parity" / "selftest" / "goldens"

Outputs = dict[str, Tensor]


# ---- the map from canonical weights to library tensors --------------------------


@dataclass(frozen=True)
class Part:
    """What one library tensor holds.

    Attributes:
        name: Canonical name.
        piece: (index, count): one of so many equal pieces along the first axis.
        layout: What happens to the axes after that.
    """

    name: str
    piece: tuple[int, int] = (0, 1)
    layout: Callable[[np.ndarray], np.ndarray] = lambda values: values

    def of(self, values: np.ndarray) -> np.ndarray:
        index, count = self.piece
        return self.layout(np.split(values, count, axis=0)[index])


DEAD = Part("")
"""Marks a parameter that the library has but does not read in these models."""

WeightMap = dict[str, Part]


def one(values: np.ndarray) -> np.ndarray:
    """(1, n, d) -> (n, d)."""
    return values[0]


def vector(values: np.ndarray) -> np.ndarray:
    """(1, 1, d) -> (d,)."""
    return values[0, 0]


def both(theirs: str, ours: str, bias: bool = True, **part: Any) -> WeightMap:
    """Weight and bias of one layer."""
    pair = {f"{theirs}.weight": Part(f"{ours}.weight", **part)}
    if bias:
        pair[f"{theirs}.bias"] = Part(f"{ours}.bias", **part)
    return pair


def split_qkv(theirs: tuple[str, str, str], block: int, bias: bool) -> WeightMap:
    """Three separate projections from the fused one, whose rows are q, k, v."""
    found: WeightMap = {}
    for i, name in enumerate(theirs):
        found |= both(name, f"blocks.{block}.attn.qkv", bias, piece=(i, 3))
    return found


def check_map(weight_map: WeightMap, config: ViTConfig) -> None:
    """Raises unless every scalar of every canonical weight is used exactly once."""
    weights = fill_weights(config)
    used: dict[str, list[np.ndarray]] = {name: [] for name in weights}
    for part in weight_map.values():
        if part is not DEAD:
            places = np.arange(weights[part.name].size)
            used[part.name].append(
                part.of(places.reshape(weights[part.name].shape)).ravel()
            )
    for name, values in weights.items():
        seen = np.sort(np.concatenate([*used[name], np.array([], int)]))
        wanted = np.arange(values.size)
        if config.qkv_bias == "qv" and name.endswith("qkv.bias"):
            wanted = np.concatenate(np.split(wanted, 3)[::2])
        if not np.array_equal(seen, wanted):
            raise ValueError(f"{name}: {len(seen)} of {len(wanted)} scalars mapped")


def load(
    model: nn.Module,
    weight_map: WeightMap,
    weights: dict[str, np.ndarray],
    table: str | None,
) -> None:
    """Fills a library model in place.

    Raises:
        ValueError: If a parameter or a saved buffer stays unfilled, a mapped one does
            not exist, or a shape differs.
    """
    targets = dict(model.named_parameters())
    targets |= model.state_dict(keep_vars=True)
    if table is not None:  # may be a plain attribute, in no state dict
        targets[table] = attribute(model, table)
    missing, unexpected = targets.keys() - weight_map, weight_map.keys() - targets
    if missing or unexpected:
        raise ValueError(f"unfilled: {sorted(missing)}; absent: {sorted(unexpected)}")
    for name, part in weight_map.items():
        target = targets[name]
        if part is DEAD:
            values = np.full(target.shape, np.nan, np.float32)
        else:
            values = part.of(weights[part.name])
        if tuple(target.shape) != values.shape:
            raise ValueError(f"{name}: {tuple(target.shape)} from {values.shape}")
        with torch.no_grad():
            target.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def attribute(model: nn.Module, path: str) -> Any:
    """The attribute at a dotted path."""
    for name in path.split("."):
        model = getattr(model, name)
    return model


# ---- running --------------------------------------------------------------------


@contextmanager
def hooked(
    model: nn.Module,
    outputs: dict[str, str] | None = None,
    inputs: dict[str, str] | None = None,
) -> Iterator[Outputs]:
    """Collects the outputs, or first inputs, of modules named by their paths."""
    found: Outputs = {}

    def keep_output(key: str, module: nn.Module, args: Any, result: Any) -> None:
        found[key] = result[0] if isinstance(result, tuple) else result

    def keep_input(key: str, module: nn.Module, args: Any) -> None:
        found[key] = args[0]

    handles = [
        model.get_submodule(path).register_forward_hook(partial(keep_output, key))
        for key, path in (outputs or {}).items()
    ] + [
        model.get_submodule(path).register_forward_pre_hook(partial(keep_input, key))
        for key, path in (inputs or {}).items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def softmax_in_input_type() -> Iterator[None]:
    """Lets a float64 run be one: transformers asks for a float32 softmax by name."""
    original = nn.functional.softmax

    def softmax(x: Tensor, dim: int, dtype: Any = None, **rest: Any) -> Tensor:
        return original(
            x, dim=dim, dtype=torch.promote_types(x.dtype, dtype or x.dtype)
        )

    nn.functional.softmax = softmax
    try:
        yield
    finally:
        nn.functional.softmax = original


# ---- the cases ------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One model of one library.

    Attributes:
        name: File name without suffix.
        library: Distribution that the model comes from.
        builder: Name of the class or function in that library.
        arguments: What the library model is built with, JSON types only.
        fields: The `ViTConfig` that says the same, written by hand.
        build: Makes the library model.
        weight_map: Canonical weights to library parameters.
        run: Calls it, in torch layout, and names what it gave.
        table: Path of the library's own sine-cosine table: kept, not filled.
        note: What this case is there for.
        tolerance: Largest difference in float64, relative to the largest value, where
            the library itself leaves more than rounding.
        alternative: The same model with patches by convolution where `arguments` ask
            for a matrix product: (arguments, weight map). In float32 a convolution on
            the CPU has up to four times the error, which is then the one to compare
            with.
    """

    name: str
    library: str
    builder: str
    arguments: dict[str, Any]
    fields: dict[str, Any]
    build: Callable[[Case], nn.Module]
    weight_map: Callable[[ViTConfig], WeightMap]
    run: Callable[[nn.Module, Tensor, ViTConfig], Outputs]
    table: str | None = None
    note: str = ""
    tolerance: float = 1e-12
    alternative: tuple[dict[str, Any], Callable[[ViTConfig], WeightMap]] | None = None

    @property
    def config(self) -> ViTConfig:
        """The canonical config."""
        return ViTConfig(**self.fields)


BASE_2D: dict[str, Any] = {
    "img_size": (48, 32),
    "patch_size": (8, 16),
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 36,
}
BASE_3D: dict[str, Any] = {
    "spatial_dims": 3,
    "img_size": (32, 24, 16),
    "patch_size": (16, 8, 8),
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 36,
}
CLIP_3D: dict[str, Any] = {  # a video: 8 frames of 24 x 32
    **BASE_3D,
    "img_size": (8, 24, 32),
    "patch_size": (4, 8, 16),
}
CLASSES = 3


# ---- timm -----------------------------------------------------------------------

TIMM_BASE: dict[str, Any] = {
    "img_size": [48, 32],
    "patch_size": [8, 16],
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 1.5,
}


def build_timm(case: Case) -> nn.Module:
    from timm.layers import LayerNorm, SwiGLUPacked
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    arguments = dict(case.arguments)
    for name in ("img_size", "patch_size"):
        arguments[name] = tuple(arguments[name])
    norm = partial(LayerNorm, eps=case.config.norm_eps)
    if "norm_eps" in arguments:
        del arguments["norm_eps"]
        arguments["norm_layer"] = norm
    if arguments.get("embed_norm_layer"):
        arguments["embed_norm_layer"] = norm
    if arguments.get("mlp_layer") == "SwiGLUPacked":
        arguments["mlp_layer"] = SwiGLUPacked
        arguments["act_layer"] = nn.SiLU
    classes = {
        "VisionTransformer": VisionTransformer,
        "VisionTransformerDistilled": VisionTransformerDistilled,
    }
    return classes[case.builder](**arguments)


def timm_map(config: ViTConfig) -> WeightMap:
    """The canonical names are timm's."""
    return {name: Part(name) for name in fill_weights(config)}


def run_timm(model: nn.Module, x: Tensor, config: ViTConfig) -> Outputs:
    with hooked(model, {"hidden.0": "blocks.0"}) as found:
        found["output"] = model(x)
    found["features"] = model.forward_features(x)
    if config.num_classes:
        found["pre_logits"] = model.forward_head(found["features"], pre_logits=True)
    return found


def run_timm_intermediates(model: nn.Module, x: Tensor, config: ViTConfig) -> Outputs:
    found = run_timm(model, x, config)
    for norm, suffix in ((False, ""), (True, "_norm")):
        pairs = model.forward_intermediates(
            x, norm=norm, return_prefix_tokens=True, intermediates_only=True
        )
        for i, (patches, prefix) in enumerate(pairs):
            found[f"map{suffix}.{i}"] = patches
            found[f"prefix{suffix}.{i}"] = prefix
    return found


def timm_case(
    name: str,
    arguments: dict[str, Any],
    fields: dict[str, Any],
    note: str,
    builder: str = "VisionTransformer",
    run: Callable[[nn.Module, Tensor, ViTConfig], Outputs] = run_timm,
) -> Case:
    arguments = {**TIMM_BASE, "num_classes": CLASSES, **arguments}
    base = {**BASE_2D, "num_classes": CLASSES, "norm_eps": 1e-6}
    return Case(
        f"timm_{name}",
        "timm",
        builder,
        arguments,
        {**base, **fields},
        build_timm,
        timm_map,
        run,
        note=note,
    )


TIMM_CASES = [
    timm_case("vit", {}, {}, "class token, positions for all"),
    timm_case(
        "reg",
        {"reg_tokens": 2, "no_embed_class": True, "in_chans": 1},
        {"reg_tokens": 2, "pos_embed_tokens": "patch", "in_chans": 1},
        "register tokens, positions for the patches only",
    ),
    timm_case(
        "dinov2_swiglu",
        {
            "init_values": 1e-5,
            "reg_tokens": 3,
            "mlp_layer": "SwiGLUPacked",
            "mlp_ratio": 2.0,
        },
        {
            "init_values": 1e-5,
            "reg_tokens": 3,
            "mlp_layer": "swiglu",
            "act_layer": "silu",
            "mlp_dim": 24,
        },
        "layer scale, packed SwiGLU, registers with positions",
    ),
    timm_case(
        "deit3",
        {"no_embed_class": True, "init_values": 1e-6},
        {"pos_embed_tokens": "patch", "init_values": 1e-6},
        "layer scale, class token without a position",
    ),
    timm_case(
        "distilled",
        {},
        {"dist_token": True, "distilled": True},
        "two heads, averaged",
        builder="VisionTransformerDistilled",
    ),
    timm_case(
        "distilled_pooled",
        {"num_classes": 0},
        {"dist_token": True, "distilled": True, "num_classes": 0},
        "mean of class and distillation token",
        builder="VisionTransformerDistilled",
    ),
    timm_case(
        "clip",
        {"pre_norm": True, "act_layer": "quick_gelu", "norm_eps": 1e-5},
        {
            "pre_norm": True,
            "patch_bias": False,
            "act_layer": "quick_gelu",
            "norm_eps": 1e-5,
        },
        "norm before the blocks, no patch bias, quick GELU",
    ),
    timm_case(
        "siglip",
        {"class_token": False, "global_pool": "map", "act_layer": "gelu_tanh"},
        {"class_token": False, "global_pool": "map", "act_layer": "gelu_tanh"},
        "attention pooling, tanh GELU",
    ),
    timm_case(
        "map_prefix",
        {"global_pool": "map", "pool_include_prefix": True, "reg_tokens": 1},
        {"global_pool": "map", "pool_include_prefix": True, "reg_tokens": 1},
        "attention pooling over the prefix tokens, too",
    ),
    timm_case(
        "avg",
        {"global_pool": "avg"},
        {"global_pool": "avg", "final_norm": False, "fc_norm": True},
        "mean of the patches, norm after it",
    ),
    timm_case(
        "avg_final_norm",
        {"global_pool": "avg", "fc_norm": False, "act_layer": "silu"},
        {"global_pool": "avg", "act_layer": "silu"},
        "norm, then mean of the patches",
    ),
    timm_case(
        "avg_prefix",
        {"global_pool": "avg", "pool_include_prefix": True, "in_chans": 4},
        {
            "global_pool": "avg",
            "pool_include_prefix": True,
            "final_norm": False,
            "fc_norm": True,
            "in_chans": 4,
        },
        "mean of all tokens",
    ),
    timm_case(
        "max",
        {"global_pool": "max", "act_layer": "relu"},
        {
            "global_pool": "max",
            "act_layer": "relu",
            "final_norm": False,
            "fc_norm": True,
        },
        "maximum over the patches",
    ),
    timm_case("qk_norm", {"qk_norm": True}, {"qk_norm": True}, "norms on q and k"),
    timm_case(
        "no_bias",
        {"qkv_bias": False, "proj_bias": False},
        {"qkv_bias": False, "proj_bias": False, "mlp_bias": False},
        "blocks without biases",
    ),
    timm_case(
        "qkv_bias_off",
        {"qkv_bias": False},
        {"qkv_bias": False},
        "no bias on q, k, v",
    ),
    timm_case("pooled", {"num_classes": 0}, {"num_classes": 0}, "no head"),
    timm_case(
        "tokens",
        {"num_classes": 0, "global_pool": ""},
        {"num_classes": 0, "global_pool": "none"},
        "neither head nor pooling",
    ),
    timm_case(
        "intermediates",
        {"reg_tokens": 2, "depth": 3},
        {"reg_tokens": 2, "depth": 3},
        "forward_intermediates, with and without norm, prefix tokens",
        run=run_timm_intermediates,
    ),
    timm_case(
        "patch_norm",
        {"embed_norm_layer": "LayerNorm"},
        {"patch_norm": "post"},
        "norm after the patch projection",
    ),
    timm_case(
        "no_pos",
        {"pos_embed": "none"},
        {"pos_embed": "none"},
        "no position embedding",
    ),
    timm_case(
        "reg_only",
        {"class_token": False, "reg_tokens": 2, "global_pool": "avg"},
        {
            "class_token": False,
            "reg_tokens": 2,
            "global_pool": "avg",
            "final_norm": False,
            "fc_norm": True,
        },
        "register tokens without a class token",
    ),
]


# ---- transformers ---------------------------------------------------------------


def build_hf(case: Case) -> nn.Module:
    import transformers

    model_class = getattr(transformers, case.builder)
    return model_class(
        model_class.config_class(**case.arguments, attn_implementation="eager")
    )


def run_hf(
    model: nn.Module,
    x: Tensor,
    config: ViTConfig,
    output: str = "logits",
    features: str = "",
) -> Outputs:
    """Calls a transformers model.

    Args:
        model: The model.
        x: Torch layout; a video is (B, C, T, H, W).
        config: The canonical config.
        output: Which field of its result is ours.
        features: Path of the module that gives the normed tokens.
    """
    if config.spatial_dims == 3:
        x = x.transpose(1, 2)  # transformers takes videos as (B, T, C, H, W)
    with hooked(model, {"features": features} if features else {}) as found:
        given = model(pixel_values=x, output_hidden_states=True, output_attentions=True)
    if len(given.hidden_states) != config.depth + 1:
        raise ValueError(f"{len(given.hidden_states)} hidden states")
    found["output"] = given[output]
    found["hidden.0"] = given.hidden_states[1]
    if not features:
        found[f"hidden.{config.depth - 1}"] = given.hidden_states[-1]
    found[f"attention.{config.depth - 1}"] = given.attentions[-1]
    return found


def hf_vit_map(config: ViTConfig, prefix: str, blocks: str = "layers") -> WeightMap:
    """Body of the ViT family as transformers 5 names it in memory."""
    body: WeightMap = {
        "embeddings.cls_token": Part("cls_token"),
        "embeddings.position_embeddings": Part("pos_embed"),
        **both("embeddings.patch_embeddings.projection", "patch_embed.proj"),
        **both("layernorm", "norm"),
    }
    if config.dist_token:
        body["embeddings.distillation_token"] = Part("dist_token")
    for i in range(config.depth):
        theirs, ours = f"{blocks}.{i}", f"blocks.{i}"
        q, k, v = (f"{theirs}.attention.{x}_proj" for x in "qkv")
        body |= {
            **split_qkv((q, k, v), i, bool(config.qkv_bias)),
            **both(f"{theirs}.attention.o_proj", f"{ours}.attn.proj"),
            **both(f"{theirs}.layernorm_before", f"{ours}.norm1"),
            **both(f"{theirs}.layernorm_after", f"{ours}.norm2"),
            **both(f"{theirs}.mlp.fc1", f"{ours}.mlp.fc1"),
            **both(f"{theirs}.mlp.fc2", f"{ours}.mlp.fc2"),
        }
    return {prefix + name: part for name, part in body.items()}


def hf_classifier_map(config: ViTConfig, prefix: str) -> WeightMap:
    return {**hf_vit_map(config, prefix), **both("classifier", "head")}


def hf_pooler_map(config: ViTConfig) -> WeightMap:
    return {**hf_vit_map(config, ""), **both("pooler.dense", "pre_logits")}


def hf_teacher_map(config: ViTConfig) -> WeightMap:
    return {
        **hf_vit_map(config, "deit."),
        **both("cls_classifier", "head"),
        **both("distillation_classifier", "head_dist"),
    }


def hf_dinov2_map(config: ViTConfig, prefix: str) -> WeightMap:
    body: WeightMap = {
        "embeddings.cls_token": Part("cls_token"),
        "embeddings.mask_token": DEAD,
        "embeddings.position_embeddings": Part("pos_embed"),
        **both("embeddings.patch_embeddings.projection", "patch_embed.proj"),
        **both("layernorm", "norm"),
    }
    if config.reg_tokens:
        body["embeddings.register_tokens"] = Part("reg_token")
    for i in range(config.depth):
        theirs, ours = f"encoder.layer.{i}", f"blocks.{i}"
        q, k, v = (f"{theirs}.attention.{x}_proj" for x in "qkv")
        body |= {
            **split_qkv((q, k, v), i, True),
            **both(f"{theirs}.attention.o_proj", f"{ours}.attn.proj"),
            **both(f"{theirs}.norm1", f"{ours}.norm1"),
            **both(f"{theirs}.norm2", f"{ours}.norm2"),
            f"{theirs}.layer_scale1.lambda1": Part(f"{ours}.ls1.gamma"),
            f"{theirs}.layer_scale2.lambda1": Part(f"{ours}.ls2.gamma"),
        }
        if config.mlp_layer == "swiglu":
            body |= {
                **both(f"{theirs}.mlp.gate_proj", f"{ours}.mlp.fc1", piece=(0, 2)),
                **both(f"{theirs}.mlp.up_proj", f"{ours}.mlp.fc1", piece=(1, 2)),
                **both(f"{theirs}.mlp.down_proj", f"{ours}.mlp.fc2"),
            }
        else:
            body |= {
                **both(f"{theirs}.mlp.fc1", f"{ours}.mlp.fc1"),
                **both(f"{theirs}.mlp.fc2", f"{ours}.mlp.fc2"),
            }
    named = {prefix + name: part for name, part in body.items()}
    return {**named, **both("classifier", "head")}


def hf_tower_map(config: ViTConfig, prefix: str) -> WeightMap:
    """What the vision towers of CLIP and SigLIP share."""
    body: WeightMap = {
        "embeddings.position_embedding.weight": Part("pos_embed", layout=one),
        **both("embeddings.patch_embedding", "patch_embed.proj", config.patch_bias),
        **both("post_layernorm", "norm"),
    }
    for i in range(config.depth):
        theirs, ours = f"encoder.layers.{i}", f"blocks.{i}"
        q, k, v = (f"{theirs}.self_attn.{x}_proj" for x in "qkv")
        body |= {
            **split_qkv((q, k, v), i, True),
            **both(f"{theirs}.self_attn.out_proj", f"{ours}.attn.proj"),
            **both(f"{theirs}.layer_norm1", f"{ours}.norm1"),
            **both(f"{theirs}.layer_norm2", f"{ours}.norm2"),
            **both(f"{theirs}.mlp.fc1", f"{ours}.mlp.fc1"),
            **both(f"{theirs}.mlp.fc2", f"{ours}.mlp.fc2"),
        }
    return {prefix + name: part for name, part in body.items()}


def hf_clip_map(config: ViTConfig) -> WeightMap:
    return {
        **hf_tower_map(config, "vision_model."),
        "vision_model.embeddings.class_embedding": Part("cls_token", layout=vector),
        **both("vision_model.pre_layrnorm", "norm_pre"),
        **both("visual_projection", "head", bias=False),
    }


def hf_siglip_map(config: ViTConfig) -> WeightMap:
    """SigLIP: torch's own attention with its fused in_proj is our q and kv."""
    return {
        **hf_tower_map(config, ""),
        "head.probe": Part("attn_pool.latent"),
        **both("head.attention.out_proj", "attn_pool.proj"),
        **both("head.layernorm", "attn_pool.norm"),
        **both("head.mlp.fc1", "attn_pool.mlp.fc1"),
        **both("head.mlp.fc2", "attn_pool.mlp.fc2"),
        # One library tensor of two canonical ones: see `build_siglip`.
        **both("head.attention.in_proj_q", "attn_pool.q"),
        **both("head.attention.in_proj_kv", "attn_pool.kv"),
    }


class InProjection(nn.Module):
    """Two parts of torch's fused `in_proj`, as parameters to fill."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(bias.clone())


def build_siglip(case: Case) -> nn.Module:
    model = build_hf(case)
    attention, dim = model.head.attention, case.config.embed_dim
    weight, bias = attention.in_proj_weight.detach(), attention.in_proj_bias.detach()
    attention.in_proj_q = InProjection(weight[:dim], bias[:dim])
    attention.in_proj_kv = InProjection(weight[dim:], bias[dim:])
    del attention.in_proj_weight, attention.in_proj_bias

    def join(module: nn.Module, args: Any) -> None:
        parts = [module.in_proj_q, module.in_proj_kv]
        module.in_proj_weight = torch.cat([part.weight for part in parts])
        module.in_proj_bias = torch.cat([part.bias for part in parts])

    attention.register_forward_pre_hook(join)
    return model


def hf_videomae_map(config: ViTConfig) -> WeightMap:
    body: WeightMap = {
        "embeddings.position_embeddings": Part("pos_embed"),
        **both("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    }
    for i in range(config.depth):
        theirs, ours = f"encoder.layer.{i}", f"blocks.{i}"
        inner = f"{theirs}.attention.attention"
        qkv = split_qkv((f"{inner}.query", f"{inner}.key", f"{inner}.value"), i, True)
        del qkv[f"{inner}.key.bias"]
        body |= {
            **qkv,
            **both(f"{theirs}.attention.output.dense", f"{ours}.attn.proj"),
            **both(f"{theirs}.layernorm_before", f"{ours}.norm1"),
            **both(f"{theirs}.layernorm_after", f"{ours}.norm2"),
            **both(f"{theirs}.intermediate.dense", f"{ours}.mlp.fc1"),
            **both(f"{theirs}.output.dense", f"{ours}.mlp.fc2"),
        }
    named = {f"videomae.{name}": part for name, part in body.items()}
    return {**named, **both("fc_norm", "fc_norm"), **both("classifier", "head")}


HF_BASE: dict[str, Any] = {
    "image_size": [48, 32],
    "patch_size": [8, 16],
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 36,
}
HF_VIT: dict[str, Any] = {**BASE_2D, "norm_eps": 1e-12}


def hf_case(
    name: str,
    builder: str,
    arguments: dict[str, Any],
    fields: dict[str, Any],
    weight_map: Callable[[ViTConfig], WeightMap],
    note: str,
    output: str = "logits",
    features: str = "",
    **rest: Any,
) -> Case:
    return Case(
        f"hf_{name}",
        "transformers",
        builder,
        arguments,
        fields,
        rest.pop("build", build_hf),
        weight_map,
        partial(run_hf, output=output, features=features),
        note=note,
        **rest,
    )


# transformers' Dinov2 takes its positions as they are only for square images, and
# CLIP only knows square ones: there, patches or models are what is not square.
DINOV2_BASE: dict[str, Any] = {
    "image_size": [32, 32],
    "patch_size": [8, 16],
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_labels": CLASSES,
}

HF_CASES = [
    hf_case(
        "vit",
        "ViTForImageClassification",
        {**HF_BASE, "num_labels": CLASSES},
        {**HF_VIT, "num_classes": CLASSES},
        partial(hf_classifier_map, prefix="vit."),
        "epsilon 1e-12, separate q, k, v",
        features="vit.layernorm",
    ),
    hf_case(
        "vit_pooler",
        "ViTModel",
        {**HF_BASE, "pooler_output_size": 20, "num_channels": 1, "qkv_bias": False},
        {**HF_VIT, "representation_size": 20, "in_chans": 1, "qkv_bias": False},
        hf_pooler_map,
        "pooler: linear and tanh on the class token, no head",
        output="pooler_output",
        features="layernorm",
    ),
    hf_case(
        "deit",
        "DeiTForImageClassification",
        {**HF_BASE, "num_labels": CLASSES},
        {**HF_VIT, "num_classes": CLASSES, "dist_token": True},
        partial(hf_classifier_map, prefix="deit."),
        "a distillation token that no head reads",
        features="deit.layernorm",
    ),
    hf_case(
        "deit_teacher",
        "DeiTForImageClassificationWithTeacher",
        {**HF_BASE, "num_labels": CLASSES},
        {**HF_VIT, "num_classes": CLASSES, "dist_token": True, "distilled": True},
        hf_teacher_map,
        "two heads, averaged",
        features="deit.layernorm",
    ),
    hf_case(
        "dinov2",
        "Dinov2ForImageClassification",
        {**DINOV2_BASE, "mlp_ratio": 2, "layerscale_value": 1.0},
        {
            **BASE_2D,
            "img_size": (32, 32),
            "mlp_dim": 48,
            "init_values": 1.0,
            "global_pool": "token_avg",
            "num_classes": CLASSES,
            "norm_eps": 1e-6,
        },
        partial(hf_dinov2_map, prefix="dinov2."),
        "head on the class token and the mean of the patches",
        features="dinov2.layernorm",
    ),
    hf_case(
        "dinov2_registers",
        "Dinov2WithRegistersForImageClassification",
        {
            **DINOV2_BASE,
            "mlp_ratio": 2,
            "use_swiglu_ffn": True,
            "num_register_tokens": 2,
        },
        {
            **BASE_2D,
            "img_size": (32, 32),
            "mlp_dim": 32,  # (int(24 * 2 * 2 / 3) + 7) // 8 * 8
            "mlp_layer": "swiglu",
            "act_layer": "silu",
            "init_values": 1.0,
            "reg_tokens": 2,
            "pos_embed_tokens": "cls",
            "global_pool": "token_avg",
            "num_classes": CLASSES,
            "norm_eps": 1e-6,
        },
        partial(hf_dinov2_map, prefix="dinov2_with_registers."),
        "registers without positions, SwiGLU",
        features="dinov2_with_registers.layernorm",
    ),
    hf_case(
        "clip",
        "CLIPVisionModelWithProjection",
        {
            **HF_BASE,
            "image_size": 24,
            "patch_size": 8,
            "projection_dim": CLASSES,
        },
        {
            **BASE_2D,
            "img_size": (24, 24),
            "patch_size": (8, 8),
            "pre_norm": True,
            "patch_bias": False,
            "act_layer": "quick_gelu",
            "norm_eps": 1e-5,
            "num_classes": CLASSES,
            "head_bias": False,
        },
        hf_clip_map,
        "norm before the blocks, a projection without bias as the head",
        output="image_embeds",
    ),
    hf_case(
        "siglip",
        "SiglipVisionModel",
        {**HF_BASE, "image_size": 32, "patch_size": 8},
        {
            **BASE_2D,
            "img_size": (64, 16),
            "patch_size": (8, 8),
            "class_token": False,
            "act_layer": "gelu_tanh",
            "norm_eps": 1e-6,
            "global_pool": "map",
        },
        hf_siglip_map,
        "attention pooling without a head. Built for 32 x 32 and fed 64 x 16, which "
        "has as many patches and which this library lets pass",
        output="pooler_output",
        features="post_layernorm",
        build=build_siglip,
    ),
    hf_case(
        "videomae",
        "VideoMAEForVideoClassification",
        {
            **HF_BASE,
            "image_size": [24, 32],
            "patch_size": [8, 16],
            "num_frames": 8,
            "tubelet_size": 4,
            "num_labels": CLASSES,
        },
        {
            **CLIP_3D,
            "class_token": False,
            "qkv_bias": "qv",
            "norm_eps": 1e-12,
            "global_pool": "avg",
            "final_norm": False,
            "fc_norm": True,
            "fc_norm_eps": 1e-5,
            "num_classes": CLASSES,
        },
        hf_videomae_map,
        "3D; no bias on keys, epsilon of fc_norm unlike the others', the library's "
        "one-dimensional sine-cosine table kept as a learned one",
        table="videomae.embeddings.position_embeddings",
    ),
    hf_case(
        "vivit",
        "VivitForVideoClassification",
        {
            "image_size": [24, 32],
            "num_frames": 8,
            "tubelet_size": [4, 8, 16],
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 36,
            "num_labels": CLASSES,
        },
        {
            **CLIP_3D,
            "act_layer": "gelu_tanh",
            "norm_eps": 1e-6,
            "num_classes": CLASSES,
        },
        partial(hf_classifier_map, prefix="vivit."),
        "3D with a class token; its gelu_fast has sqrt(2 / pi) to ten digits only",
        features="vivit.layernorm",
        tolerance=1e-10,
    ),
]


# ---- torchvision ----------------------------------------------------------------


def build_torchvision(case: Case) -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(**case.arguments)


def torchvision_map(config: ViTConfig) -> WeightMap:
    found: WeightMap = {
        "class_token": Part("cls_token"),
        "encoder.pos_embedding": Part("pos_embed"),
        **both("conv_proj", "patch_embed.proj"),
        **both("encoder.ln", "norm"),
        **both("heads.head", "head"),
    }
    if config.representation_size:
        found |= both("heads.pre_logits", "pre_logits")
    for i in range(config.depth):
        theirs, ours = f"encoder.layers.encoder_layer_{i}", f"blocks.{i}"
        attention = f"{theirs}.self_attention"
        found |= {
            f"{attention}.in_proj_weight": Part(f"{ours}.attn.qkv.weight"),
            f"{attention}.in_proj_bias": Part(f"{ours}.attn.qkv.bias"),
            **both(f"{attention}.out_proj", f"{ours}.attn.proj"),
            **both(f"{theirs}.ln_1", f"{ours}.norm1"),
            **both(f"{theirs}.ln_2", f"{ours}.norm2"),
            **both(f"{theirs}.mlp.0", f"{ours}.mlp.fc1"),
            **both(f"{theirs}.mlp.3", f"{ours}.mlp.fc2"),
        }
    return found


def run_torchvision(model: nn.Module, x: Tensor, config: ViTConfig) -> Outputs:
    modules = {"hidden.0": "encoder.layers.encoder_layer_0", "features": "encoder.ln"}
    if config.representation_size:
        modules["pre_logits"] = "heads.act"
    with hooked(model, modules) as found:
        found["output"] = model(x)
    return found


TORCHVISION_BASE: dict[str, Any] = {
    "image_size": 24,
    "patch_size": 8,
    "num_layers": 2,
    "num_heads": 3,
    "hidden_dim": 24,
    "mlp_dim": 36,
    "num_classes": CLASSES,
}


def torchvision_case(
    name: str, arguments: dict[str, Any], fields: dict[str, Any], note: str
) -> Case:
    base = {
        **BASE_2D,
        "img_size": (24, 24),
        "patch_size": (8, 8),
        "norm_eps": 1e-6,
        "num_classes": CLASSES,
    }
    return Case(
        f"torchvision_{name}",
        "torchvision",
        "VisionTransformer",
        {**TORCHVISION_BASE, **arguments},
        {**base, **fields},
        build_torchvision,
        torchvision_map,
        run_torchvision,
        note=note,
    )


TORCHVISION_CASES = [
    torchvision_case("vit", {}, {}, "torch.nn.MultiheadAttention; square only"),
    torchvision_case(
        "representation",
        {"representation_size": 20},
        {"representation_size": 20},
        "linear and tanh before the head",
    ),
]


# ---- MONAI ----------------------------------------------------------------------


def build_monai(case: Case) -> nn.Module:
    from monai.networks.nets import ViT

    return ViT(**case.arguments)


def channels_last_rows(values: np.ndarray) -> np.ndarray:
    """Convolution kernel -> matrix on flattened patches, channels fastest."""
    return np.moveaxis(values, 1, -1).reshape(len(values), -1)


def monai_map(config: ViTConfig, perceptron: bool) -> WeightMap:
    embedding = "patch_embedding.patch_embeddings"
    found: WeightMap = {
        "patch_embedding.position_embeddings": Part("pos_embed"),
        **both("norm", "norm"),
    }
    if perceptron:
        weight = Part("patch_embed.proj.weight", layout=channels_last_rows)
        found |= {
            f"{embedding}.1.weight": weight,
            f"{embedding}.1.bias": Part("patch_embed.proj.bias"),
        }
    else:
        found |= both(embedding, "patch_embed.proj")
    if config.num_classes:
        head = "classification_head" + (".0" if config.head_act == "tanh" else "")
        found |= {"cls_token": Part("cls_token"), **both(head, "head")}
    for i in range(config.depth):
        name = f"blocks.{i}"
        found |= {
            **both(f"{name}.attn.qkv", f"{name}.attn.qkv", bool(config.qkv_bias)),
            **both(f"{name}.attn.out_proj", f"{name}.attn.proj"),
            **both(f"{name}.norm1", f"{name}.norm1"),
            **both(f"{name}.norm2", f"{name}.norm2"),
            **both(f"{name}.mlp.linear1", f"{name}.mlp.fc1"),
            **both(f"{name}.mlp.linear2", f"{name}.mlp.fc2"),
            f"{name}.norm_cross_attn.weight": DEAD,
            f"{name}.norm_cross_attn.bias": DEAD,
        }
    return found


def run_monai(model: nn.Module, x: Tensor, config: ViTConfig) -> Outputs:
    output, hidden = model(x)
    found = {f"hidden.{i}": tokens for i, tokens in enumerate(hidden)}
    found["output"] = output
    last = config.depth - 1
    found[f"attention.{last}"] = model.blocks[last].attn.att_mat
    return found


def monai_case(
    name: str, arguments: dict[str, Any], fields: dict[str, Any], note: str
) -> Case:
    """A MONAI model; `fields` holds what differs from MONAI's own defaults."""
    spatial_dims = 3 if name.startswith("3d") else 2
    base = BASE_3D if spatial_dims == 3 else BASE_2D
    in_chans = fields.get("in_chans", 1)
    classification = arguments.get("classification", False)
    output = (
        {"num_classes": CLASSES, "head_act": "tanh", "pos_embed_tokens": "patch"}
        if classification
        else {"class_token": False, "global_pool": "none", "pos_embed_tokens": "patch"}
    )
    sincos = arguments.get("pos_embed_type") == "sincos"
    perceptron = arguments["proj_type"] == "perceptron"
    alternative = {"proj_type": "conv"}, partial(monai_map, perceptron=False)
    return Case(
        f"monai_{name}",
        "monai",
        "ViT",
        {
            "in_channels": in_chans,
            "img_size": list(base["img_size"]),
            "patch_size": list(base["patch_size"]),
            "hidden_size": 24,
            "mlp_dim": 36,
            "num_layers": 2,
            "num_heads": 3,
            "num_classes": CLASSES,
            "spatial_dims": spatial_dims,
            "save_attn": True,
            **arguments,
        },
        {
            **base,
            "in_chans": in_chans,
            "norm_eps": 1e-5,
            "qkv_bias": False,
            **output,
            **fields,
        },
        build_monai,
        partial(monai_map, perceptron=perceptron),
        run_monai,
        table="patch_embedding.position_embeddings" if sincos else None,
        note=note,
        alternative=alternative if perceptron else None,
    )


MONAI_CASES = [
    monai_case(
        "2d_tanh",
        {"proj_type": "conv", "classification": True},
        {},
        "tanh on the head's output, no bias on q, k, v",
    ),
    monai_case(
        "2d_bare",
        {
            "proj_type": "perceptron",
            "classification": True,
            "post_activation": None,
            "qkv_bias": True,
        },
        {"head_act": None, "qkv_bias": True, "in_chans": 3},
        "head without activation, patches by a linear layer",
    ),
    monai_case(
        "2d_sincos",
        {"proj_type": "conv", "pos_embed_type": "sincos"},
        {"pos_embed": "sincos", "in_chans": 4},
        "features with the library's own 2D sine-cosine table",
    ),
    monai_case(
        "3d_tanh",
        {"proj_type": "perceptron", "classification": True, "qkv_bias": True},
        {"qkv_bias": True, "in_chans": 4},
        "3D, tanh, patches by a linear layer",
    ),
    monai_case(
        "3d_bare",
        {"proj_type": "conv", "classification": True, "post_activation": None},
        {"head_act": None},
        "3D, head without activation",
    ),
    monai_case(
        "3d_features",
        {"proj_type": "perceptron", "qkv_bias": True},
        {"qkv_bias": True},
        "3D features and hidden states",
    ),
    monai_case(
        "3d_sincos",
        {"proj_type": "conv", "pos_embed_type": "sincos"},
        {"pos_embed": "sincos"},
        "3D features with the library's own 3D sine-cosine table",
    ),
]


# ---- vit-pytorch ----------------------------------------------------------------


def build_lucidrains(case: Case) -> nn.Module:
    from importlib import import_module

    module, name = case.builder.split(".")
    arguments = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in case.arguments.items()
    }
    return getattr(import_module(f"vit_pytorch.{module}"), name)(**arguments)


def lucidrains_map(
    config: ViTConfig,
    kind: str,
) -> WeightMap:
    """The current generation; `kind` is vit, vit_3d or simple_vit."""
    embedding = "to_patch_embedding"
    found: WeightMap = {
        **both(f"{embedding}.1", "patch_embed.norm_pre"),
        **both(f"{embedding}.2", "patch_embed.proj"),
        **both(f"{embedding}.3", "patch_embed.norm"),
    }
    if kind == "vit":
        found |= {
            "cls_token": Part("cls_token", layout=one),
            "pos_embedding": Part("pos_embed", layout=one),
            **both("transformer.norm", "norm"),
            **both("mlp_head", "head"),
        }
        if not config.class_token:
            found["cls_token"] = DEAD  # of shape (0, d)
    elif kind == "vit_3d":
        found |= {
            "cls_token": Part("cls_token"),
            "pos_embedding": Part("pos_embed"),
            **both("mlp_head.0", "fc_norm"),
            **both("mlp_head.1", "head"),
        }
    else:
        found |= {
            "pos_embedding": Part("pos_embed", layout=one),
            **both("transformer.norm", "norm"),
            **both("linear_head", "head"),
        }
    last = 3 if kind == "simple_vit" else 4
    for i in range(config.depth):
        attention, mlp = f"transformer.layers.{i}.0", f"transformer.layers.{i}.1.net"
        ours = f"blocks.{i}"
        out = f"{attention}.to_out" + ("" if kind == "simple_vit" else ".0")
        found |= {
            **both(f"{attention}.norm", f"{ours}.norm1"),
            **both(f"{attention}.to_qkv", f"{ours}.attn.qkv", bias=False),
            **both(out, f"{ours}.attn.proj", bias=config.proj_bias),
            **both(f"{mlp}.0", f"{ours}.norm2"),
            **both(f"{mlp}.1", f"{ours}.mlp.fc1"),
            **both(f"{mlp}.{last}", f"{ours}.mlp.fc2"),
        }
    return found


def run_lucidrains(model: nn.Module, x: Tensor, config: ViTConfig) -> Outputs:
    # The residual sums lie between the modules: what block 1 is given, block 0 made.
    hidden = {"hidden.0": "transformer.layers.1.0"}
    with hooked(model, {"features": "transformer"}, hidden) as found:
        found["output"] = model(x)
    return found


LUCIDRAINS_BASE: dict[str, Any] = {
    "image_size": [48, 32],
    "patch_size": [8, 16],
    "num_classes": CLASSES,
    "dim": 24,
    "depth": 2,
    "heads": 3,
    "dim_head": 10,
    "mlp_dim": 36,
}


def lucidrains_case(
    name: str,
    builder: str,
    arguments: dict[str, Any],
    fields: dict[str, Any],
    note: str,
    kind: str,
    table: str | None = None,
) -> Case:
    base = {
        **BASE_2D,
        "head_dim": 10,
        "patch_norm": "dual",
        "norm_eps": 1e-5,
        "qkv_bias": False,
        "num_classes": CLASSES,
    }
    return Case(
        f"lucidrains_{name}",
        "vit-pytorch",
        builder,
        arguments,
        {**base, **fields},
        build_lucidrains,
        partial(lucidrains_map, kind=kind),
        run_lucidrains,
        table=table,
        note=note,
    )


LUCIDRAINS_CASES = [
    lucidrains_case(
        "vit",
        "vit.ViT",
        LUCIDRAINS_BASE,
        {},
        "norms on either side of the patch projection, width of a head of its own",
        "vit",
    ),
    lucidrains_case(
        "vit_mean",
        "vit.ViT",
        {**LUCIDRAINS_BASE, "pool": "mean", "channels": 1},
        {"class_token": False, "global_pool": "avg", "in_chans": 1},
        "no class token, mean",
        "vit",
    ),
    lucidrains_case(
        "vit_3d",
        "vit_3d.ViT",
        {
            "image_size": [24, 16],
            "image_patch_size": [8, 8],
            "frames": 32,
            "frame_patch_size": 16,
            **{k: v for k, v in LUCIDRAINS_BASE.items() if "_size" not in k},
            "pool": "mean",
            "channels": 1,
        },
        {
            **BASE_3D,
            "in_chans": 1,
            "global_pool": "avg",
            "pool_include_prefix": True,
            "final_norm": False,
            "fc_norm": True,
        },
        "3D; the mean includes the class token, norm after it",
        "vit_3d",
    ),
    lucidrains_case(
        "simple_vit",
        "simple_vit.SimpleViT",
        LUCIDRAINS_BASE,
        {
            "class_token": False,
            "global_pool": "avg",
            "proj_bias": False,
            "pos_embed": "sincos",
        },
        "the library's own sine-cosine table, no bias on the attention's output",
        "simple_vit",
        table="pos_embedding",
    ),
]

CASES = [*TIMM_CASES, *HF_CASES, *TORCHVISION_CASES, *MONAI_CASES, *LUCIDRAINS_CASES]


# ---- making the files -----------------------------------------------------------


def kept(name: str, values: Tensor, kind: InputKind, config: ViTConfig) -> int:
    """How many of the batch are stored of an output."""
    if name == "output" and config.num_classes:
        # One input cannot be judged by its logits; its tokens can.
        return 0 if kind == "zeros" else BATCH
    return 8 if values.ndim == 2 else 1


def stored(names: set[str], kind: InputKind, config: ViTConfig) -> set[str]:
    """Which outputs are stored of a kind of input: all of them only of noise."""
    if config.global_pool == "none":
        names = names - {"features"}  # the output itself
    if kind == "noise":
        return names
    tokens = "features" if "features" in names else f"hidden.{config.depth - 1}"
    return names & {"output", tokens}


def weights_of(case: Case, table: np.ndarray | None, faint: bool) -> dict[str, Any]:
    """The filled weights, with the library's own position table if it has one."""
    weights = fill_weights(case.config, faint=faint)
    if table is not None:
        if table.size != weights["pos_embed"].size:
            raise ValueError(f"{case.name}: position table of shape {table.shape}")
        scale = np.float32(FAINT if faint else 1.0)
        weights["pos_embed"] = table.reshape(weights["pos_embed"].shape) * scale
    return weights


def make(case: Case) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Runs one case.

    Returns:
        The arrays and the description of a golden file.
    """
    torch.manual_seed(0)
    config = case.config
    weight_map = case.weight_map(config)
    check_map(weight_map, config)
    model = case.build(case).eval()
    second = second_map = None
    if case.alternative:
        changes, make_map = case.alternative
        other = replace(case, arguments={**case.arguments, **changes})
        second, second_map = case.build(other).eval(), make_map(config)
        check_map(second_map, config)
    table = None
    if case.table:
        table = attribute(model, case.table).detach().numpy().copy()

    arrays: dict[str, np.ndarray] = {}
    inputs: dict[str, Any] = {}
    shape = (BATCH, config.in_chans, *config.img_size)
    kinds: tuple[InputKind, ...] = ("noise", "low_variance", "large", "zeros")
    for kind in kinds:
        faint = kind == "low_variance"
        weights = weights_of(case, table, faint)
        load(model, weight_map, weights, case.table)
        if table is not None and not faint:
            arrays["weights/pos_embed"] = weights["pos_embed"]
        x = torch.from_numpy(image(shape, 0, kind))[: 1 if kind == "zeros" else None]
        exact = copy.deepcopy(model).double()
        runs: dict[str, Outputs] = {}
        with torch.no_grad():
            runs["library"] = case.run(model, x, config)
            with softmax_in_input_type():
                runs["oracle"] = case.run(exact, x.double(), config)
            if second is not None and second_map is not None:
                load(second, second_map, weights, case.table)
                runs["alternative"] = case.run(second, x, config)
        inputs[kind] = {"seed": 0, "kind": kind, "batch": len(x), "faint_fill": faint}
        names = stored(set(runs["library"]), kind, config)
        for who, outputs in runs.items():
            dtype = torch.float64 if who == "oracle" else torch.float32
            for name in sorted(names):
                values = outputs[name].detach()
                if values.dtype != dtype or not values.isfinite().all():
                    raise ValueError(f"{case.name} {kind} {name}: {values.dtype}")
                count = kept(name, values, kind, config)
                if count:
                    values = values[:count].contiguous()
                    arrays[f"{kind}/{name}/{who}"] = values.numpy()
    description = {
        "format": FORMAT,
        "case": case.name,
        "note": case.note,
        "library": case.library,
        "builder": case.builder,
        "arguments": case.arguments,
        "versions": {
            name: version(name) for name in sorted({case.library, "torch", "numpy"})
        },
        "config": config.to_dict(),
        "inputs": inputs,
        "tolerance": case.tolerance,
    }
    return arrays, description


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--only", help="make the cases whose name contains this")
    options = parser.parse_args()
    torch.set_num_threads(1)  # one order of summation
    options.out.mkdir(parents=True, exist_ok=True)
    total = 0
    for case in CASES:
        if options.only and options.only not in case.name:
            continue
        arrays, description = make(case)
        path = options.out / f"{case.name}.safetensors"
        text = json.dumps(description, sort_keys=True, separators=(",", ":"))
        save_file(arrays, path, {"golden": text})
        total += path.stat().st_size
        print(f"{case.name:32} {len(arrays):3} arrays {path.stat().st_size:8,} bytes")
    print(f"{total:,} bytes")


if __name__ == "__main__":
    main()
