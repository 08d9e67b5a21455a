"""keras-hub's `ViTBackbone` and `ViTImageClassifier`: the configs of 0.32.

The backbone alone gives its tokens. `pooling="gap"` is the mean over all of them, the
class token included. The GELU is the exact one, Keras' default for a layer's
`activation`; it is in no config. `use_mha_bias` is of all four projections.

`read_fields` takes what a preset's JSON files hold: `backbone` (the `config` of
config.json), and, where they are there, `task` and `image_converter` (those of
task.json and image_converter.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries.config_fields import (
    Refused,
    Same,
    Spec,
    Take,
    count,
    flag,
    number,
    one_of,
    optional,
    rate,
    read,
    sizes,
)
from vit_config.errors import ConfigError

_FLOATS = ("float32", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")


def _shape(value: Any) -> tuple[int, int, int]:
    """(H, W, C), or (C, H, W): a preset does not say which; channels are few."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise Refused("three numbers, (H, W, C) or (C, H, W)")
    if not all(isinstance(n, int) and n > 0 for n in value):
        raise Refused("three positive numbers")
    a, b, c = value
    return (b, c, a) if a < c else (a, b, c)


def _policy(value: Any) -> str:
    name = value
    if isinstance(value, Mapping):
        inner = value.get("config")
        name = inner.get("name") if isinstance(inner, Mapping) else None
        name = name if value.get("class_name") == "DTypePolicy" else None
    if name not in _FLOATS:
        raise Refused(
            f"a policy of {', '.join(_FLOATS)}; quantised weights are not read"
        )
    return str(name)


BACKBONE = Spec(
    name="keras-hub ViTBackbone",
    take={
        "image_shape": Take(_shape),
        "patch_size": Take(sizes(2)),
        "num_layers": Take(count),
        "num_heads": Take(count),
        "hidden_dim": Take(count),
        "mlp_dim": Take(count),
        "dropout_rate": Take(rate, 0.0),
        "attention_dropout": Take(rate, 0.0),
        "layer_norm_epsilon": Take(number, 1e-6),
        "use_mha_bias": Take(flag, True),
        "use_mlp_bias": Take(flag, True),
        "use_class_token": Take(flag, True),
        "use_patch_bias": Take(flag, True),
        "dtype": Take(_policy, "float32"),
    },
    ignored={"name": "a name", "trainable": "training only"},
)

TASK = Spec(
    name="keras-hub ViTImageClassifier",
    take={
        "num_classes": Take(count),
        "pooling": Take(one_of({"token": "token", "gap": "avg"}), "token"),
        "intermediate_dim": Take(optional(count), None),
        "activation": Take(optional(one_of({"linear": None, "tanh": "tanh"})), None),
        "dropout": Take(rate, 0.0),
    },
    same={"head_dtype": Same("another type in the head", (None,))},
    ignored={
        "backbone": "the config of config.json, which it has to be",
        "preprocessor": "read from image_converter.json",
        "name": "a name",
        "trainable": "training only",
        "dtype": "the backbone's",
    },
)

CONVERTER = Spec(
    name="keras-hub ImageConverter",
    take={
        "image_size": Take(optional(sizes(2)), None),
        "scale": Take(lambda value: value, None),
        "offset": Take(lambda value: value, None),
        "crop_to_aspect_ratio": Take(flag, True),
        "pad_to_aspect_ratio": Take(flag, False),
        "interpolation": Take(
            one_of(
                {
                    "nearest": "nearest",
                    "bilinear": "bilinear",
                    "bicubic": "bicubic",
                    "lanczos3": "lanczos",
                },
                "; the schema has Lanczos of three lobes only",
            ),
            "bilinear",
        ),
    },
    ignored={
        "antialias": "the schema names the filter alone",
        "bounding_box_format": "of boxes, not of images",
        "data_format": "which axis is the channels': the backbone's image_shape says",
        "name": "a name",
        "trainable": "training only",
        "dtype": "of the scaling; the weights have their own",
    },
)


def read_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Translates the configs of a preset.

    Raises:
        ConfigError: With every problem found.
    """
    unknown = sorted(set(given) - {"backbone", "task", "image_converter"})
    if unknown or not isinstance(given.get("backbone"), Mapping):
        line = (
            f"{unknown[0]}: not a part of a preset"
            if unknown
            else ("backbone: required; the 'config' of config.json")
        )
        raise ConfigError([line], "keras-hub")
    v = read(BACKBONE, given["backbone"])
    height, width, channels = v["image_shape"]
    fields = {
        "img_size": (height, width),
        "patch_size": v["patch_size"],
        "in_chans": channels,
        "embed_dim": v["hidden_dim"],
        "depth": v["num_layers"],
        "num_heads": v["num_heads"],
        "mlp_dim": v["mlp_dim"],
        "patch_bias": v["use_patch_bias"],
        "class_token": v["use_class_token"],
        "norm_eps": v["layer_norm_epsilon"],
        "qkv_bias": v["use_mha_bias"],
        "proj_bias": v["use_mha_bias"],
        "mlp_bias": v["use_mlp_bias"],
        "act_layer": "gelu",
        "pos_drop_rate": v["dropout_rate"],
        "proj_drop_rate": v["dropout_rate"],
        "attn_drop_rate": v["attention_dropout"],
        "global_pool": "none",
    }
    converter = given.get("image_converter")
    if converter is not None:
        fields["data"] = read_data(converter, channels)
        size = converter.get("image_size")
        if size is not None and sizes(2)(size) != (height, width):
            line = f"image_size: found {size!r}; image_shape is of {[height, width]}"
            raise ConfigError([line], CONVERTER.name)
    if given.get("task") is None:
        return fields
    t = read(TASK, given["task"])
    inner = given["task"].get("backbone")
    own = inner.get("config") if isinstance(inner, Mapping) else None
    if own != given["backbone"]:
        line = "backbone: that of task.json is not the one of config.json"
        raise ConfigError([line], TASK.name)
    if t["pooling"] == "token" and not v["use_class_token"]:
        # The first patch, which the schema has no pooling for.
        line = "pooling: 'token' without a class token reads the first patch alone"
        raise ConfigError([line], TASK.name)
    return {
        **fields,
        "num_classes": t["num_classes"],
        "global_pool": t["pooling"],
        "pool_include_prefix": t["pooling"] == "avg" and v["use_class_token"],
        "representation_size": t["intermediate_dim"],
        "head_act": t["activation"],
        "drop_rate": t["dropout"],
    }


def read_data(given: Mapping[str, Any], channels: int) -> dict[str, Any]:
    """Preprocessing: keras-hub's `x * scale + offset`, on pixels from 0 to 255.

    Without scale and offset the network takes the pixels as they are, which is a
    deviation of 1 / 255 of an image from 0 to 1.

    Raises:
        ConfigError: If a field has a value that the schema cannot hold, or if scale or
            offset are not of that many channels.
    """
    v = read(CONVERTER, given)
    scale, offset = (_listed(given, name, channels) for name in ("scale", "offset"))
    scale, offset = scale or (1.0,) * channels, offset or (0.0,) * channels
    data: dict[str, Any] = {
        "std": tuple(1 / (255 * s) for s in scale),
        "mean": tuple(-o / (255 * s) for o, s in zip(offset, scale, strict=True)),
        "input_range": (0.0, 1.0),
    }
    if v["image_size"] is None:
        return data  # nothing is resized
    data |= {"interpolation": v["interpolation"], "crop_mode": "squash"}
    if v["crop_to_aspect_ratio"] and v["pad_to_aspect_ratio"]:
        line = "pad_to_aspect_ratio: keras-hub has it or crop_to_aspect_ratio"
        raise ConfigError([line], CONVERTER.name)
    if v["crop_to_aspect_ratio"]:
        data |= {"crop_mode": "center", "crop_pct": 1.0}
    if v["pad_to_aspect_ratio"]:
        data["crop_mode"] = "border"
    return data


def _listed(
    given: Mapping[str, Any], name: str, channels: int
) -> tuple[float, ...] | None:
    value = given.get(name)
    if value is None:
        return None
    values = value if isinstance(value, list | tuple) else [value] * channels
    if (
        len(values) != channels
        or not all(isinstance(v, int | float) for v in values)
        or (name == "scale" and not all(values))
    ):
        line = f"{name}: found {value!r}; one number, not 0, for each of {channels}"
        raise ConfigError([line], "keras-hub ImageConverter")
    return tuple(map(float, values))


def write_fields(config: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The arguments of `ViTBackbone`, and those of `ViTImageClassifier` or None.

    The config has to be one that the classes have, see
    `converters.libraries.keras_hub.names`.
    """
    backbone = {
        "image_shape": [*config.img_size, config.in_chans],
        "patch_size": list(config.patch_size),
        "num_layers": config.depth,
        "num_heads": config.num_heads,
        "hidden_dim": config.embed_dim,
        "mlp_dim": config.mlp_dim,
        "dropout_rate": config.proj_drop_rate,
        "attention_dropout": config.attn_drop_rate,
        "layer_norm_epsilon": config.norm_eps,
        "use_mha_bias": config.qkv_bias,
        "use_mlp_bias": config.mlp_bias,
        "use_class_token": config.class_token,
        "use_patch_bias": config.patch_bias,
    }
    if not config.num_classes:
        return backbone, None
    task = {
        "num_classes": config.num_classes,
        "pooling": {"token": "token", "avg": "gap"}[config.global_pool],
        "activation": config.head_act,
        "dropout": config.drop_rate,
        "intermediate_dim": config.representation_size,
    }
    return backbone, task
