"""The tables of the Hugging Face dialect: fields, defaults and outputs, class by class.

Read from transformers 5.23.0: `configuration_*.py` for the defaults, `modeling_*.py`
for what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from converters.libraries.config_fields import (
    Refused,
    Take,
    count,
    count_or_zero,
    flag,
    number,
    optional,
    rate,
    sizes,
)
from converters.libraries.huggingface.config_fields import (
    BACKBONE,
    DECODER,
    POOLER,
    STRIDE,
    activation,
)
from vit_config.errors import ConfigError

Values = dict[str, Any]

# ---- outputs, by model class ------------------------------------------------------

_TOKENS = {"global_pool": "none"}
_CLASS_TOKEN = {"global_pool": "token", "classes": "labels"}
_MEAN = {"global_pool": "avg", "classes": "labels"}


@dataclass(frozen=True)
class Model:
    """One `model_type`.

    Attributes:
        take: Fields beside `COMMON_TAKE`, or with another default.
        outputs: For each model class, the schema's output fields; `"classes"` says
            where the number of outputs comes from.
        adapt: Fields that need a formula.
        fields: Fields that are always the same.
        ignored: Fields that cannot change the model.
    """

    take: Mapping[str, Take]
    outputs: Mapping[str, Mapping[str, Any]]
    adapt: Callable[[Values], Values]
    fields: Mapping[str, Any] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)

    def architecture(self, value: Any) -> str:
        """Parses `architectures`: a list of exactly one model class."""
        if isinstance(value, list | tuple) and len(value) == 1:
            (name,) = value
            if isinstance(name, str) and name in self.outputs:
                return name
        listed = " or ".join(repr([name]) for name in self.outputs)
        raise Refused(f"{listed}: it decides what the model returns")


_BLOCK = {
    "patch_size": Take(sizes(2), 16),
    "intermediate_size": Take(count, 3072),
    "hidden_act": Take(activation, "gelu"),
    "hidden_dropout_prob": Take(rate, 0.0),
    "attention_probs_dropout_prob": Take(rate, 0.0),
    "layer_norm_eps": Take(number, 1e-12),
    "qkv_bias": Take(flag, True),
    "head_dim": Take(optional(count), None),
}
_BLOCK_1E6 = {**_BLOCK, "layer_norm_eps": Take(number, 1e-6)}
_TOWER = {
    "intermediate_size": Take(count, 3072),
    "attention_dropout": Take(rate, 0.0),
}
_BICUBIC = {"pos_resize": "bicubic"}


def _vit(v: Values) -> Values:
    return {
        "patch_size": v["patch_size"],
        "head_dim": v["head_dim"],
        "mlp_dim": v["intermediate_size"],
        "qkv_bias": v["qkv_bias"],
        "pos_drop_rate": v["hidden_dropout_prob"],
        "proj_drop_rate": v["hidden_dropout_prob"],
        "attn_drop_rate": v["attention_probs_dropout_prob"],
    }


def _vit_mae(v: Values) -> Values:
    return {**_vit(v), "pos_drop_rate": 0.0}  # masking stands where dropout would


def _dinov2(v: Values) -> Values:
    hidden = int(v["hidden_size"] * v["mlp_ratio"])
    swiglu = v["use_swiglu_ffn"]
    return {
        "patch_size": v["patch_size"],
        "head_dim": v["head_dim"],
        "mlp_dim": (int(hidden * 2 / 3) + 7) // 8 * 8 if swiglu else hidden,
        "mlp_layer": "swiglu" if swiglu else "mlp",
        "act_layer": "silu" if swiglu else v["hidden_act"],
        "init_values": v["layerscale_value"],
        "qkv_bias": v["qkv_bias"],
        "reg_tokens": v.get("num_register_tokens", 0),
        "pos_drop_rate": v["hidden_dropout_prob"],  # there is none in the blocks
        "attn_drop_rate": v["attention_probs_dropout_prob"],
    }


def _tower(v: Values) -> Values:
    return {
        "patch_size": v["patch_size"],
        "mlp_dim": v["intermediate_size"],
        "attn_drop_rate": v["attention_dropout"],
    }


def _siglip(v: Values) -> Values:
    """The bare model gives its pooled vector, where it has the attention pooling."""
    whole = v["architectures"] in ("SiglipVisionModel", "SiglipModel")
    pooled = whole and v["vision_use_head"]
    return {**_tower(v), "global_pool": "map" if pooled else "none"}


def _videomae(v: Values) -> Values:
    biased = v["qkv_bias"] if v["qv_bias"] is None else v["qv_bias"]
    if None not in (v["qkv_bias"], v["qv_bias"]) and v["qkv_bias"] != v["qv_bias"]:
        line = (
            f"qkv_bias: {v['qkv_bias']} with qv_bias={v['qv_bias']}; the two are one "
            "field, by its names in transformers 4 and 5"
        )
        raise ConfigError([line], "Hugging Face videomae")
    fields = {
        **_vit({**v, "qkv_bias": False if biased is False else "qv", "head_dim": None}),
        "pos_drop_rate": 0.0,
        "img_size": (v["num_frames"], *v["image_size"]),
        "patch_size": (v["tubelet_size"], *v["patch_size"]),
        "final_norm": not v["use_mean_pooling"],
    }
    if v["architectures"] == "VideoMAEForVideoClassification":
        if not v["use_mean_pooling"]:
            line = (
                "use_mean_pooling: False; this classifier then reads the first patch "
                "alone, a pooling that the schema does not have"
            )
            raise ConfigError([line], "Hugging Face videomae")
        # This LayerNorm is made without an epsilon: torch's default.
        fields |= {"fc_norm": True, "fc_norm_eps": 1e-5}
    return fields


def _vivit(v: Values) -> Values:
    return {
        **_vit({**v, "patch_size": v["tubelet_size"]}),
        "img_size": (v["num_frames"], *v["image_size"]),
    }


def _no_drop_path(value: Any) -> float:
    if rate(value):
        raise Refused(
            "0: these models drop every block at one rate, the schema's grows from 0. "
            "Outside training it does nothing"
        )
    return 0.0


_DINOV2 = {
    **{k: v for k, v in _BLOCK_1E6.items() if k != "intermediate_size"},
    "patch_size": Take(sizes(2), 14),
    "mlp_ratio": Take(number, 4),
    "layerscale_value": Take(number, 1.0),
    "drop_path_rate": Take(_no_drop_path, 0.0),
    "use_swiglu_ffn": Take(flag, False),
}
_PAIR = {"global_pool": "token_avg", "classes": "labels"}

MODELS: dict[str, Model] = {
    "vit": Model(
        take=_BLOCK,
        outputs={
            "ViTModel": _TOKENS,
            "ViTForImageClassification": _CLASS_TOKEN,
            "ViTForMaskedImageModeling": _TOKENS,
        },
        adapt=_vit,
        fields=_BICUBIC,
        ignored={**POOLER, **STRIDE},
    ),
    "deit": Model(
        take=_BLOCK,
        outputs={
            "DeiTModel": _TOKENS,
            "DeiTForImageClassification": _CLASS_TOKEN,
            "DeiTForImageClassificationWithTeacher": {
                **_CLASS_TOKEN,
                "distilled": True,
            },
            "DeiTForMaskedImageModeling": _TOKENS,
        },
        adapt=_vit,
        fields={**_BICUBIC, "dist_token": True},
        ignored={**POOLER, **STRIDE},
    ),
    "dinov2": Model(
        take=_DINOV2,
        outputs={"Dinov2Model": _TOKENS, "Dinov2ForImageClassification": _PAIR},
        adapt=_dinov2,
        fields=_BICUBIC,
        ignored=BACKBONE,
    ),
    "dinov2_with_registers": Model(
        take={
            **_DINOV2,
            "patch_size": Take(sizes(2), 16),
            "num_register_tokens": Take(count_or_zero, 4),
        },
        outputs={
            "Dinov2WithRegistersModel": _TOKENS,
            "Dinov2WithRegistersForImageClassification": _PAIR,
        },
        adapt=_dinov2,
        fields={"pos_resize": "bicubic_aa", "pos_embed_tokens": "cls"},
        ignored=BACKBONE,
    ),
    "clip_vision_model": Model(
        take={
            **_TOWER,
            "patch_size": Take(sizes(2), 32),
            "hidden_act": Take(activation, "quick_gelu"),
            "layer_norm_eps": Take(number, 1e-5),
            "projection_dim": Take(count, 512),
        },
        outputs={
            "CLIPVisionModel": {"global_pool": "token"},
            "CLIPVisionModelWithProjection": {
                "global_pool": "token",
                "classes": "projection",
            },
            # The whole model; its images end in the projection, too.
            "CLIPModel": {"global_pool": "token", "classes": "projection"},
            # The mean of the patches as the last block leaves them.
            "CLIPForImageClassification": {**_MEAN, "final_norm": False},
        },
        adapt=_tower,
        fields={**_BICUBIC, "patch_bias": False, "pre_norm": True},
        ignored={"initializer_factor": "initialisation only", "dropout": "never read"},
    ),
    "siglip_vision_model": Model(
        take={
            **_TOWER,
            "patch_size": Take(sizes(2), 16),
            "hidden_act": Take(activation, "gelu_pytorch_tanh"),
            "layer_norm_eps": Take(number, 1e-6),
            "vision_use_head": Take(flag, True),
        },
        outputs={
            "SiglipVisionModel": {},
            "SiglipModel": {},
            "SiglipForImageClassification": _MEAN,
        },
        adapt=_siglip,
        fields={**_BICUBIC, "class_token": False},
    ),
    "vit_mae": Model(
        take=_BLOCK,
        outputs={"ViTMAEModel": _TOKENS, "ViTMAEForPreTraining": _TOKENS},
        adapt=_vit_mae,
        fields={**_BICUBIC, "pos_embed": "sincos"},
        ignored=DECODER,
    ),
    "vit_msn": Model(
        take=_BLOCK_1E6,
        outputs={
            "ViTMSNModel": _TOKENS,
            "ViTMSNForImageClassification": _CLASS_TOKEN,
        },
        adapt=_vit,
        fields=_BICUBIC,
    ),
    "ijepa": Model(
        take=_BLOCK,
        outputs={"IJepaModel": _TOKENS, "IJepaForImageClassification": _MEAN},
        adapt=_vit,
        fields={**_BICUBIC, "class_token": False},
        ignored=POOLER,
    ),
    "videomae": Model(
        take={
            **{k: v for k, v in _BLOCK.items() if k not in ("qkv_bias", "head_dim")},
            "num_frames": Take(count, 16),
            "tubelet_size": Take(count, 2),
            # True where neither stands: the name of transformers 5, and that of 4.
            "qv_bias": Take(optional(flag), None),
            "qkv_bias": Take(optional(flag), None),
            "use_mean_pooling": Take(flag, True),
        },
        outputs={
            "VideoMAEModel": _TOKENS,
            "VideoMAEForPreTraining": _TOKENS,
            "VideoMAEForVideoClassification": _MEAN,
        },
        adapt=_videomae,
        fields={"spatial_dims": 3, "class_token": False, "pos_embed": "sincos"},
        ignored=DECODER,
    ),
    "vivit": Model(
        take={
            **{k: v for k, v in _BLOCK_1E6.items() if k != "patch_size"},
            "num_frames": Take(count, 32),
            "tubelet_size": Take(sizes(3), [2, 16, 16]),
            "hidden_act": Take(activation, "gelu_fast"),
        },
        outputs={"VivitModel": _TOKENS, "VivitForVideoClassification": _CLASS_TOKEN},
        adapt=_vivit,
        fields={"spatial_dims": 3},
        ignored=POOLER,
    ),
}
