"""A timm `config.json` from our config: a name of timm and what differs from it.

JSON cannot hold every argument of timm's class: another norm or MLP is a Python class.
Those come from the architecture's name alone, so the name is chosen of which the fewest
arguments must be said. What is written is read again by this package's own reader, and
must come back as the model it was made from.
"""

from __future__ import annotations

import functools
from typing import Any

from converters.libraries.config_differences import differences
from converters.libraries.config_fields import read
from converters.libraries.timm import config_names as timm_names
from converters.libraries.timm.config import SPEC, read_fields
from vit_config.config import ViTConfig
from vit_config.data import DataConfig
from vit_config.errors import ConfigError

WHAT = "as a config.json of timm"

_TRAINING = {
    *("drop_rate", "pos_drop_rate", "proj_drop_rate", "attn_drop_rate"),
    *("drop_path_rate", "weight_init"),
}
_POOLS = {"none": ""}


def write_fields(config: ViTConfig) -> dict[str, Any]:
    """The `config.json` from which `timm.create_model("local-dir:...")` is this model.

    Raises:
        ConfigError: If no name of timm can be made into it by what JSON holds.
    """
    wanted = class_arguments(config)
    name, model_args = _nearest(config, wanted)
    data = config.data or DataConfig()
    source = config.source
    cfg: dict[str, Any] = {
        "custom_load": False,
        "input_size": [config.in_chans, *config.img_size],
        "fixed_input_size": True,
        "num_classes": config.num_classes,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": ["head", "head_dist"] if config.distilled else "head",
    }
    for field in ("interpolation", "crop_pct", "crop_mode"):
        if getattr(data, field) is not None:
            cfg[field] = getattr(data, field)
    cfg |= _statistics(data)
    if source is not None and source.licence is not None:
        cfg["license"] = source.licence
    if _named(config).partition(".")[0] == name:
        tag = _named(config).partition(".")[2]
        cfg |= {"tag": tag} if tag else {}
    fields: dict[str, Any] = {
        "architecture": name,
        "num_classes": config.num_classes,
        "num_features": config.embed_dim,
    }
    if config.global_pool != "none":
        fields["global_pool"] = config.global_pool
    if config.labels:
        fields["label_names"] = list(config.labels)
    if model_args:
        fields["model_args"] = model_args
    fields["pretrained_cfg"] = cfg
    lines = differences(config, ViTConfig(**read_fields(fields)))
    if lines:
        raise ConfigError(lines, WHAT)
    return fields


def _named(config: ViTConfig) -> str:
    """Name of the source as timm has it, which is also that of its model on the hub."""
    name = (config.source.name if config.source else None) or ""
    return name.rpartition("/")[2]


def _statistics(data: DataConfig) -> dict[str, Any]:
    """Mean and deviation of values in [0, 1], which timm's images have."""
    if data.mean is None or data.std is None:
        return {}
    low, high = data.input_range or (0.0, 1.0)
    scale = high - low
    if (low, high) == (0.0, 1.0):
        return {"mean": list(data.mean), "std": list(data.std)}
    return {
        "mean": [(m - low) / scale for m in data.mean],
        "std": [s / scale for s in data.std],
    }


def class_arguments(config: ViTConfig) -> dict[str, Any]:
    """Arguments of timm's class, in JSON types as far as they have one.

    Number of classes, channels and image size are not among them.
    """
    some = config.final_norm or config.fc_norm
    gated = config.mlp_layer == "swiglu"
    hidden = config.mlp_dim * (2 if gated else 1)
    norm = {"layer": "timm.layers.norm.LayerNorm", "eps": config.norm_eps}
    default = config.norm_eps == 1e-6
    found: dict[str, Any] = {
        "patch_size": _one(config.patch_size),
        "embed_dim": config.embed_dim,
        "depth": config.depth,
        "num_heads": config.num_heads,
        "mlp_ratio": _ratio(hidden, config.embed_dim),
        "qkv_bias": bool(config.qkv_bias),
        "qk_norm": config.qk_norm,
        "proj_bias": config.proj_bias,
        "init_values": config.init_values,
        "class_token": config.class_token,
        "pos_embed": "none" if config.pos_embed == "none" else "learn",
        "no_embed_class": bool(config.num_prefix_tokens)
        and config.num_pos_tokens == config.num_patches,
        "reg_tokens": config.reg_tokens,
        "pre_norm": config.pre_norm,
        "final_norm": some,
        "fc_norm": config.fc_norm,
        "pool_include_prefix": config.pool_include_prefix,
        "global_pool": _POOLS.get(config.global_pool, config.global_pool),
        "act_layer": config.act_layer,
        "mlp_layer": "SwiGLUPacked" if gated else "Mlp",
        "norm_layer": "layernorm" if default else norm,
        "class": f"VisionTransformer{'Distilled' if config.distilled else ''}",
        **{name: getattr(config, name) for name in sorted(_TRAINING)},
    }
    found["weight_init"] = "jax" if config.weight_init == "jax" else ""
    if config.patch_norm == "post":
        found["embed_norm_layer"] = "layernorm" if default else norm
    return found


def _one(size: tuple[int, ...]) -> int | list[int]:
    return size[0] if len(set(size)) == 1 else list(size)


def _ratio(hidden: int, width: int) -> float:
    """A quotient of which the product, cut to an integer, is the width again."""
    if hidden % width == 0:
        return hidden // width
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def _nearest(config: ViTConfig, wanted: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of which the fewest arguments must be said, and these."""
    parsed = _parsed(config, wanted)
    own = _named(config)
    found = []
    for place, (name, values) in enumerate(_known().items()):
        odd = [key for key in wanted if not _same(key, parsed, values)]
        if config.embed_dim == values["embed_dim"] and "mlp_ratio" in odd:
            width = config.embed_dim
            same = int(width * values["mlp_ratio"]) == int(width * parsed["mlp_ratio"])
            odd = [key for key in odd if not (key == "mlp_ratio" and same)]
        if any(not isinstance(wanted[key], _JSON) for key in odd):
            continue
        if "class" in odd or "mlp_layer" in odd:
            continue
        found.append((len(odd), name != own.partition(".")[0], place, name, odd))
    if not found:
        reasons = {
            "norm_eps": config.norm_eps,
            "mlp_layer": config.mlp_layer,
            "patch_norm": config.patch_norm,
        }
        said = ", ".join(f"{field}={value!r}" for field, value in reasons.items())
        line = (
            f"no name of timm {timm_names.table()['versions']['timm']} has {said}, and "
            "JSON cannot say it; write a .safetensors with timm's names and make "
            "the model in code"
        )
        raise ConfigError([line], WHAT)
    _, _, _, name, odd = min(found)
    return name, {key: wanted[key] for key in odd}


_JSON = (bool, int, float, str, list, type(None))


def _same(key: str, wanted: dict[str, Any], known: dict[str, Any]) -> bool:
    if key == "fc_norm":  # None means: after the pooling where that is a mean
        auto = wanted["global_pool"] in ("avg", "max")
        given = known["fc_norm"]
        same = wanted["fc_norm"] == (auto if given is None else given)
        return same or not wanted["final_norm"]
    if key == "no_embed_class" and not (wanted["class_token"] or wanted["reg_tokens"]):
        return True
    if key == "init_values":
        return (wanted[key] is None) == (known[key] is None)
    return key in _TRAINING or bool(wanted[key] == known[key])


def _parsed(config: ViTConfig, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return read(SPEC, arguments)
    except ConfigError as error:
        raise ConfigError(error.problems, WHAT) from None


@functools.cache
def _known() -> dict[str, dict[str, Any]]:
    """The arguments of every name that the schema can hold."""
    found = {}
    for name in timm_names.names():
        given = timm_names.table()["models"][name]["arguments"]
        try:
            found[name] = read(SPEC, given)
        except ConfigError:
            continue
    return found
