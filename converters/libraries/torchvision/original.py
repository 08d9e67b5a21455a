"""torchvision's `VisionTransformer` (0.29.1)."""

from __future__ import annotations

from functools import partial
from typing import Any

from converters.parity.source_model import Raw, SourceModel, fitting, load_strictly
from vit_config import ViTConfig


def load(raw: Raw) -> SourceModel:
    """The model of a file; torchvision itself renames what 0.12 called otherwise."""
    from torch import nn
    from torchvision.models import VisionTransformer

    config = raw.config
    fields = raw.made.get("fields")
    if fields is None:
        arguments = {
            "image_size": config.img_size[0],
            "patch_size": config.patch_size[0],
            "num_layers": config.depth,
            "num_heads": config.num_heads,
            "hidden_dim": config.embed_dim,
            "mlp_dim": config.mlp_dim,
            "num_classes": config.num_classes,
            "representation_size": config.representation_size,
            "norm_layer": partial(nn.LayerNorm, eps=config.norm_eps),
        }
        fitting(raw, "torchvision", arguments)
    else:
        arguments = dict(fields)
    module = VisionTransformer(**arguments)
    load_strictly(module, raw)
    return outputs_of(module.eval(), config)


def outputs_of(module: Any, config: ViTConfig) -> SourceModel:
    """A call gives the logits."""
    return SourceModel(module, config, module, tokens="encoder.ln", head="heads.head")
