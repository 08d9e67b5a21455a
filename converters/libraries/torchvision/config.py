"""torchvision's `VisionTransformer`: the constructor arguments of 0.29.1.

`dropout` acts after the positions, after the attention and inside the MLP; there is
none before the head. The initialisation follows Flax' ViT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries.config_fields import (
    Same,
    Spec,
    Take,
    count,
    layer_norm_eps,
    optional,
    rate,
    read,
)

SPEC = Spec(
    name="torchvision VisionTransformer",
    take={
        "image_size": Take(count),
        "patch_size": Take(count),
        "num_layers": Take(count),
        "num_heads": Take(count),
        "hidden_dim": Take(count),
        "mlp_dim": Take(count),
        "dropout": Take(rate, 0.0),
        "attention_dropout": Take(rate, 0.0),
        "num_classes": Take(count, 1000),
        "representation_size": Take(optional(count), None),
        # The default is partial(torch.nn.LayerNorm, eps=1e-6).
        "norm_layer": Take(layer_norm_eps(1e-6), None),
    },
    same={"conv_stem_configs": Same("a stem of several convolutions", (None,))},
)


def read_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Translates the arguments of `torchvision.models.VisionTransformer`.

    Raises:
        ConfigError: With every problem found.
    """
    v = read(SPEC, given)
    return {
        "img_size": v["image_size"],
        "patch_size": v["patch_size"],
        "embed_dim": v["hidden_dim"],
        "depth": v["num_layers"],
        "num_heads": v["num_heads"],
        "mlp_dim": v["mlp_dim"],
        "pos_resize": "bicubic_align",
        "norm_eps": v["norm_layer"],
        "representation_size": v["representation_size"],
        "num_classes": v["num_classes"],
        "pos_drop_rate": v["dropout"],
        "proj_drop_rate": v["dropout"],
        "attn_drop_rate": v["attention_dropout"],
        "weight_init": "jax",
    }
