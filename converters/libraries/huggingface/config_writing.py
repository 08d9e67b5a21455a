"""Hugging Face `config.json` and `preprocessor_config.json` from our config.

What is written is read again by this package's own reader, and must come back as the
model it was made from: a field that a class has no place for is found here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from converters.libraries.config_differences import differences
from vit_config.config import ViTConfig
from vit_config.data import DataConfig
from vit_config.errors import ConfigError
from vit_config.wording import setting

_ACTS = {"gelu_tanh": "gelu_pytorch_tanh"}
_PROBLEMS = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
}
_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def write_fields(
    config: ViTConfig, model_type: str, architecture: str
) -> dict[str, Any]:
    """The `config.json` with which a model class of transformers is this model.

    Args:
        config: The model.
        model_type: `"vit"`, `"dinov2"`, ...
        architecture: Name of the model class.

    Raises:
        ConfigError: If the class cannot be this model, with the fields that differ.
    """
    fields: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "num_channels": config.in_chans,
        "image_size": _size(config.img_size[-2:]),
        "patch_size": _size(config.patch_size[-2:]),
        "layer_norm_eps": config.norm_eps,
        "hidden_act": _ACTS.get(config.act_layer, config.act_layer),
        **_BODIES[model_type](config, architecture),
    }
    if config.num_classes and "projection_dim" not in fields:
        labels = config.labels or [f"LABEL_{i}" for i in range(config.num_classes)]
        fields["id2label"] = {str(i): name for i, name in enumerate(labels)}
        if len(set(labels)) == len(labels):
            fields["label2id"] = {name: i for i, name in enumerate(labels)}
        problem = config.problem_type
        if problem is not None:
            fields["problem_type"] = _PROBLEMS.get(problem, problem)
    if model_type == "vivit":
        del fields["patch_size"]  # all of it is in the tubelet
    if config.representation_size and architecture in _POOLERS:
        fields["pooler_output_size"] = config.representation_size
        fields["pooler_act"] = "tanh"
    lines = differences(config, ViTConfig.from_dialect("huggingface", fields))
    if lines:
        raise ConfigError(lines, f"as transformers' {architecture}")
    return fields


_POOLERS = ("ViTModel", "DeiTModel", "VivitModel")
"""Classes that give a pooler's output beside their tokens."""


def _size(size: tuple[int, ...]) -> int | list[int]:
    return size[0] if len(set(size)) == 1 else list(size)


def _vit(config: ViTConfig, architecture: str) -> dict[str, Any]:
    return {
        "intermediate_size": config.mlp_dim,
        "qkv_bias": bool(config.qkv_bias),
        "hidden_dropout_prob": config.proj_drop_rate,
        "attention_probs_dropout_prob": config.attn_drop_rate,
    }


def _dinov2(config: ViTConfig, architecture: str) -> dict[str, Any]:
    gated = config.mlp_layer == "swiglu"
    found: dict[str, Any] = {
        "mlp_ratio": _ratio(config, gated),
        "use_swiglu_ffn": gated,
        "layerscale_value": config.init_values,
        "qkv_bias": bool(config.qkv_bias),
        "hidden_dropout_prob": config.pos_drop_rate,
        "attention_probs_dropout_prob": config.attn_drop_rate,
    }
    if gated:
        found["hidden_act"] = "gelu"  # which such a block does not read
    if "Registers" in architecture:
        found["num_register_tokens"] = config.reg_tokens
    return found


def _ratio(config: ViTConfig, gated: bool) -> int:
    """The ratio that gives this width; transformers 5 takes integers only.

    Raises:
        ConfigError: If there is none.
    """
    width = config.embed_dim
    for ratio in range(1, 65):
        hidden = width * ratio
        if gated:  # rounded up to a multiple of 8
            hidden = (int(hidden * 2 / 3) + 7) // 8 * 8
        if hidden == config.mlp_dim:
            return ratio
    line = f"mlp_dim: {config.mlp_dim} for embed_dim={width} is of no whole mlp_ratio"
    raise ConfigError([line], "as transformers' Dinov2")


def _clip(config: ViTConfig, architecture: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "intermediate_size": config.mlp_dim,
        "attention_dropout": config.attn_drop_rate,
    }
    if architecture == "CLIPVisionModelWithProjection":
        found["projection_dim"] = config.num_classes
    return found


def _siglip(config: ViTConfig, architecture: str) -> dict[str, Any]:
    return {
        "intermediate_size": config.mlp_dim,
        "attention_dropout": config.attn_drop_rate,
        "vision_use_head": bool(config.num_classes) or config.global_pool == "map",
    }


def _videomae(config: ViTConfig, architecture: str) -> dict[str, Any]:
    found = _vit(config, architecture)
    del found["qkv_bias"]
    return {
        **found,
        "qv_bias": bool(config.qkv_bias),
        "num_frames": config.img_size[0],
        "tubelet_size": config.patch_size[0],
        "use_mean_pooling": not config.final_norm,
    }


def _vivit(config: ViTConfig, architecture: str) -> dict[str, Any]:
    return {
        **_vit(config, architecture),
        "num_frames": config.img_size[0],
        "tubelet_size": list(config.patch_size),
    }


_BODIES: Mapping[str, Callable[[ViTConfig, str], dict[str, Any]]] = {
    "vit": _vit,
    "deit": _vit,
    "ijepa": _vit,
    "dinov2": _dinov2,
    "dinov2_with_registers": _dinov2,
    "clip_vision_model": _clip,
    "siglip_vision_model": _siglip,
    "videomae": _videomae,
    "vivit": _vivit,
}


# ---- preprocessing ----------------------------------------------------------------


def write_data(config: ViTConfig) -> dict[str, Any] | None:
    """The `preprocessor_config.json`, or None where the source did not say all of it.

    A half of it would not do: the library would fill the rest in with its own values.

    Raises:
        ConfigError: If no image processor does this.
    """
    data = config.data or DataConfig()
    stated = (
        *(data.mean, data.std, data.input_range),
        *(data.interpolation, data.crop_pct, data.crop_mode),
    )
    if any(value is None for value in stated):
        return None
    height, width = config.img_size[-2:]
    pct = data.crop_pct or 1.0
    # timm cuts off, and so a crop of 0.875 comes back as 224 of 256.
    edges = [int(side / pct + 1e-6) for side in (height, width)]
    crop = {"height": height, "width": width}
    video = config.spatial_dims == 3
    fields: dict[str, Any] = {
        "do_resize": True,
        "resample": _FILTERS[str(data.interpolation)],
        **_range(data, video),
    }
    if data.crop_mode == "squash" and not video:
        fields["size"] = {"height": edges[0], "width": edges[1]}
        fields["image_processor_type"] = "ViTImageProcessor"
        if edges != [height, width]:
            more = {"do_center_crop": True, "crop_size": crop}
            fields |= {"image_processor_type": "DeiTImageProcessor", **more}
    elif data.crop_mode == "center" and height == width:
        kind = "VideoMAE" if video else "Bit"
        fields |= {
            "image_processor_type": f"{kind}ImageProcessor",
            "size": {"shortest_edge": edges[0]},
            "do_center_crop": True,
            "crop_size": crop,
        }
        if "offset" in fields:
            fields["image_processor_type"] = "VivitImageProcessor"
    else:
        line = (
            f"data.crop_mode: {data.crop_mode!r} for {height} x {width}; transformers "
            "has no image processor for it; leave it out with "
            f"{setting({'data': None})}"
        )
        raise ConfigError([line], "Hugging Face preprocessor")
    return fields


def _range(data: DataConfig, video: bool) -> dict[str, Any]:
    """Rescaling and normalisation; [-1, 1] is folded into mean and deviation."""
    mean, std = list(data.mean or ()), list(data.std or ())
    low, high = data.input_range or (0.0, 1.0)
    found = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    if (low, high) == (0.0, 255.0):
        found = {"do_rescale": False, "do_normalize": True}
    elif (low, high) == (-1.0, 1.0) and video:
        found |= {"rescale_factor": 1 / 127.5, "offset": True}
    elif (low, high) != (0.0, 1.0):
        scale = high - low
        mean, std = [(m - low) / scale for m in mean], [s / scale for s in std]
    return {**found, "image_mean": mean, "image_std": std}
