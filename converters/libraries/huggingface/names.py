"""Hugging Face's Vision Transformers, one variant a model class and generation.

`huggingface@vit` is what files have (transformers 4, and 5 when it saves),
`huggingface@vit+memory` what `state_dict()` of a model has in transformers 5; `-bare` a
model without a head, whose names have no prefix. The bare ViT, DeiT, ViTMSN, ViTMAE,
IJepa and ViViT share one variant: their names are the same, only the config differs.
"""

from __future__ import annotations

from converters.libraries.huggingface import (
    names_dinov2 as huggingface_dinov2,
    names_flax as huggingface_flax,
    names_tf as huggingface_tf,
    names_towers as huggingface_towers,
    names_video as huggingface_video,
    names_vit as huggingface_vit,
)
from converters.libraries.variant import Dialect

_OF_PYTORCH = (
    *huggingface_vit.VARIANTS,
    *huggingface_dinov2.VARIANTS,
    *huggingface_towers.VARIANTS,
    *huggingface_video.VARIANTS,
)
HUGGINGFACE = Dialect(
    "huggingface",
    "Hugging Face transformers",
    (
        *_OF_PYTORCH,
        *huggingface_tf.VARIANTS,
        *huggingface_flax.variants(_OF_PYTORCH),
    ),
    config="huggingface",
    places={
        "num_heads": "num_attention_heads of config.json",
        "img_size": "image_size of config.json",
        "norm_eps": "layer_norm_eps of config.json",
        "act_layer": "hidden_act of config.json",
    },
)

DIALECTS = (HUGGINGFACE,)
