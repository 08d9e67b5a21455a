"""Canonical weights to transformers' tensors, in the names that 5 has in memory.

The bodies are the maps of `tools/make_goldens.py`; here is what the heads add.
"""

from __future__ import annotations

from make_goldens import (
    Part,
    both,
    hf_dinov2_map,
    hf_tower_map,
    hf_videomae_map,
    hf_vit_map,
    vector,
)
from state_dict_base import Map

from vit_config import ViTConfig


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
