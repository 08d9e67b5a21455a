"""OpenAI's CLIP and open_clip for `tools/make_state_dict_keys.py`.

The names are open_clip's own. timm reads such files, too: what it makes of the filled
model must be the canonical weights again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from make_goldens import Part, both, one, vector

from tests.fill import fill_weights
from vit_config import ViTConfig

FIELDS: dict[str, Any] = {
    "img_size": [24, 24],
    "patch_size": [8, 8],
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 36,
    "pre_norm": True,
    "patch_bias": False,
    "act_layer": "quick_gelu",
    "norm_eps": 1e-5,
    "num_classes": 5,
    "head_bias": False,
}


def weight_map(config: ViTConfig) -> dict[str, Part]:
    """The visual tower."""
    found = {
        "class_embedding": Part("cls_token", layout=vector),
        "positional_embedding": Part("pos_embed", layout=one),
        "conv1.weight": Part("patch_embed.proj.weight"),
        "proj": Part("head.weight", layout=np.transpose),
        **both("ln_pre", "norm_pre"),
        **both("ln_post", "norm"),
    }
    for i in range(config.depth):
        theirs, ours = f"transformer.resblocks.{i}", f"blocks.{i}"
        found |= {
            f"{theirs}.attn.in_proj_weight": Part(f"{ours}.attn.qkv.weight"),
            f"{theirs}.attn.in_proj_bias": Part(f"{ours}.attn.qkv.bias"),
            **both(f"{theirs}.attn.out_proj", f"{ours}.attn.proj"),
            **both(f"{theirs}.ln_1", f"{ours}.norm1"),
            **both(f"{theirs}.ln_2", f"{ours}.norm2"),
            **both(f"{theirs}.mlp.c_fc", f"{ours}.mlp.fc1"),
            **both(f"{theirs}.mlp.c_proj", f"{ours}.mlp.fc2"),
        }
    return {f"visual.{name}": part for name, part in found.items()}


@dataclass(frozen=True)
class OpenAIModel:
    """A whole CLIP, image and text."""

    name: str = "CLIP"
    builder: str = "open_clip.model.CLIP"

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "embed_dim": 5,
            "quick_gelu": True,
            "vision_cfg": {
                "layers": 2,
                "width": 24,
                "head_width": 8,
                "mlp_ratio": 1.5,
                "patch_size": 8,
                "image_size": 24,
            },
            "text_cfg": {
                "context_length": 5,
                "vocab_size": 9,
                "width": 8,
                "heads": 2,
                "layers": 1,
            },
        }

    def make(self) -> tuple[dict[str, Any], dict[str, Any], set[str]]:
        import open_clip
        from timm.models.vision_transformer import _convert_openai_clip

        given = self.arguments
        library = open_clip.model.CLIP(
            given["embed_dim"],
            open_clip.CLIPVisionCfg(**given["vision_cfg"]),
            open_clip.CLIPTextCfg(**given["text_cfg"]),
            quick_gelu=given["quick_gelu"],
        )
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in FIELDS.items()}
        config = ViTConfig(**fields)
        parts, weights = weight_map(config), fill_weights(config)
        state = library.state_dict()
        unread = {name for name in state if not name.startswith("visual.")}
        if parts.keys() != state.keys() - unread:
            raise ValueError(f"differ: {parts.keys() ^ (state.keys() - unread)}")
        for name, part in parts.items():
            values = np.ascontiguousarray(part.of(weights[part.name]))
            state[name].copy_(torch.from_numpy(values))
        read = _convert_openai_clip(library.state_dict(), None)
        for name, values in weights.items():
            if not np.array_equal(read[name].numpy(), values):
                raise ValueError(f"timm reads another {name}")
        arrays = {name: value.numpy() for name, value in state.items()}
        described = {"dialect": "", "given": FIELDS, "set": {}}
        return {"memory": arrays}, described, unread


OPENAI_MODELS = [OpenAIModel()]
