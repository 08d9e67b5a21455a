"""How each weight of a fresh model is drawn, as the source libraries do it.

Schemes (`ViTConfig.weight_init`), read from the sources:

- `"timm"`: timm 1.0.31 `init_weights_vit_timm`: linear normal(0.02), biases zero, the
  patch convolution left at torch's default.
- `"jax"`: timm 1.0.31 `init_weights_vit_jax`, after Flax' ViT: linear Xavier uniform,
  MLP biases normal(1e-6), patch convolution LeCun normal, head zero.
- `"mae"`: facebookresearch/mae `models_mae.py`: linear and patch Xavier uniform, tokens
  normal(0.02).
- `"monai"`: MONAI 1.6.1 `ViT`: torch's defaults, positions normal(0.02), class token 0.

torch's `trunc_normal_(std=0.02)` cuts at +-2 *absolute*, a hundred standard deviations
away: it is a normal distribution, and called one here. `truncated_normal` is the other
kind, cut at two standard deviations (timm `trunc_normal_tf_`, Keras `TruncatedNormal`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from vit_config.config import ViTConfig
from vit_config.weights import Weight, axis_sizes, shape_of

# Standard deviation of a unit normal cut at +-2 (JAX, Keras and timm `lecun_normal_`
# divide by it so that the cut distribution has the wanted variance).
CUT_NORMAL_STD = 0.87962566103423978


@dataclass(frozen=True, slots=True)
class Init:
    """A distribution.

    Attributes:
        kind: `"constant"`, `"normal"`, `"truncated_normal"`, `"uniform"` or
            `"sincos"` (the fixed table of `vit_config.sincos`).
        value: The constant, the standard deviation, or the half width.
    """

    kind: Literal["constant", "normal", "truncated_normal", "uniform", "sincos"]
    value: float = 0.0


ZEROS = Init("constant", 0.0)
ONES = Init("constant", 1.0)


def initial(config: ViTConfig, weight: Weight) -> Init:
    """Returns the distribution that a fresh model draws this weight from."""
    match weight.rule.role:
        case "norm_scale":
            return ONES
        case "norm_offset":
            return ZEROS
        case "gamma":
            return Init("constant", config.init_values or 0.0)
        case "pos":
            sincos = config.pos_embed == "sincos"
            return Init("sincos") if sincos else Init("normal", 0.02)
        case "token":
            return _token(config, weight.name)
        case "kernel":
            return _kernel(config, weight)
        case "bias":
            return _bias(config, weight)


def _token(config: ViTConfig, name: str) -> Init:
    if name == "attn_pool.latent":
        return Init("truncated_normal", config.embed_dim**-0.5)
    if config.weight_init == "mae" or name == "dist_token":
        return Init("normal", 0.02)
    if config.weight_init == "monai":
        return ZEROS
    return Init("normal", 1e-6)


def _is_patch(weight: Weight) -> bool:
    return weight.name.startswith("patch_embed.proj.")


def _fan_in(config: ViTConfig, weight: Weight) -> int:
    return math.prod(shape_of(weight.rule.fan_in, axis_sizes(config)))


def _kernel(config: ViTConfig, weight: Weight) -> Init:
    fan_in, fan_out = _fan_in(config, weight), weight.shape[0]
    xavier = Init("uniform", math.sqrt(6 / (fan_in + fan_out)))
    torch_default = Init("uniform", 1 / math.sqrt(fan_in))
    linear_patch = _is_patch(weight) and config.patch_norm == "dual"
    match config.weight_init:
        case "timm":
            conv = _is_patch(weight) and not linear_patch
            return torch_default if conv else Init("normal", 0.02)
        case "jax":
            if weight.name.startswith("head"):
                return ZEROS
            if _is_patch(weight) and not linear_patch:
                std = math.sqrt(1 / fan_in) / CUT_NORMAL_STD
                return Init("truncated_normal", std)
            return xavier
        case "mae":
            return xavier
        case "monai":
            return Init("normal", 0.02) if linear_patch else torch_default


def _bias(config: ViTConfig, weight: Weight) -> Init:
    if weight.name.endswith("qkv.bias") and config.qkv_bias == "qv":
        return ZEROS  # the key part must be zero, and stays so
    torch_default = Init("uniform", 1 / math.sqrt(_fan_in(config, weight)))
    linear_patch = _is_patch(weight) and config.patch_norm == "dual"
    match config.weight_init:
        case "timm" | "mae":
            conv = _is_patch(weight) and not linear_patch
            return torch_default if conv else ZEROS
        case "jax":
            return Init("normal", 1e-6) if ".mlp." in weight.name else ZEROS
        case "monai":
            return ZEROS if linear_patch else torch_default
