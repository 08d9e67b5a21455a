"""timm's `VisionTransformer` and `VisionTransformerDistilled`: the arguments of 1.0.31.

The field `"class"` names the class; without it `VisionTransformer` is meant. Layers may
be given by name, as a class, or as a `functools.partial`, as timm itself takes them.

- `pre_norm` takes the bias of the patch projection away.
- `fc_norm=None` means: after the pooling when `global_pool` is avg or max.
- `proj_bias` is the bias of the MLP as well.
- `init_values=0` is no layer scale, and `pos_drop_rate` does nothing without positions.

With the field `"architecture"` the others are those of `timm.create_model` or of a
saved `config.json`, see `timm_names`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from converters.libraries.config_fields import (
    Refused,
    Same,
    Spec,
    Take,
    count,
    count_or_zero,
    flag,
    layer_norm_eps,
    number,
    one_of,
    optional,
    plain,
    rate,
    read,
    sizes,
)
from converters.libraries.timm import config_names as timm_names
from vit_config.errors import ConfigError

_ACTIVATIONS = {
    # names, then classes of torch and timm
    "gelu": "gelu",
    "gelu_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
    "GELU": "gelu",
    "GELUTanh": "gelu_tanh",
    "QuickGELU": "quick_gelu",
    "SiLU": "silu",
    "Swish": "silu",
    "SwishMe": "silu",
    "ReLU": "relu",
}
_MLPS = {"Mlp": "mlp", "SwiGLU": "split", "SwiGLUPacked": "packed"}


def _activation(value: Any) -> str:
    if value is None or value == "":
        return "gelu"
    if isinstance(value, functools.partial):
        name = plain(value.func)
        if (
            name == "GELU"
            and not value.args
            and value.keywords == {"approximate": "tanh"}
        ):
            return "gelu_tanh"
    else:
        name = value.lower() if isinstance(value, str) else plain(value)
        if isinstance(name, str) and name in _ACTIVATIONS:
            return _ACTIVATIONS[name]
    raise Refused("'gelu', 'gelu_tanh', 'quick_gelu', 'silu', 'relu', or their classes")


_layer_norm: Callable[[Any], float] = layer_norm_eps(1e-6)


def _norm(value: Any) -> float:
    """Takes also what JSON can hold: `{"layer": "torch.nn.LayerNorm", "eps": 1}`."""
    if isinstance(value, Mapping) and set(value) == {"layer", "eps"}:
        if value["layer"] not in ("timm.layers.norm.LayerNorm", "torch.nn.LayerNorm"):
            raise Refused("a LayerNorm: the schema has no other norm")
        return number(value["eps"])
    return _layer_norm(value)


def _mlp(value: Any) -> str:
    if isinstance(value, functools.partial):
        keywords = {k: plain(v) for k, v in value.keywords.items()}
        # `act_layer` is overridden by the block.
        keywords.pop("act_layer", None)
        if plain(value.func) == "GluMlp" and keywords == {"gate_last": False}:
            return "packed"
    elif isinstance(plain(value), str) and plain(value) in _MLPS:
        return _MLPS[plain(value)]
    raise Refused("Mlp, SwiGLU or SwiGLUPacked")


SPEC = Spec(
    name="timm VisionTransformer",
    take={
        "img_size": Take(sizes(2), 224),
        "patch_size": Take(sizes(2), 16),
        "in_chans": Take(count, 3),
        "num_classes": Take(count_or_zero, 1000),
        "global_pool": Take(
            one_of(
                {"": "none", "avg": "avg", "max": "max", "token": "token", "map": "map"}
            ),
            "token",
        ),
        "embed_dim": Take(count, 768),
        "depth": Take(count, 12),
        "num_heads": Take(count, 12),
        "mlp_ratio": Take(number, 4.0),
        "qkv_bias": Take(flag, True),
        "qk_norm": Take(flag, False),
        "proj_bias": Take(flag, True),
        "init_values": Take(optional(number), None),
        "class_token": Take(flag, True),
        "pos_embed": Take(
            one_of({"learn": "learned", "none": "none", "": "none"}), "learn"
        ),
        "no_embed_class": Take(flag, False),
        "reg_tokens": Take(count_or_zero, 0),
        "pre_norm": Take(flag, False),
        "final_norm": Take(flag, True),
        "fc_norm": Take(optional(flag), None),
        "pool_include_prefix": Take(flag, False),
        "drop_rate": Take(rate, 0.0),
        "pos_drop_rate": Take(rate, 0.0),
        "proj_drop_rate": Take(rate, 0.0),
        "attn_drop_rate": Take(rate, 0.0),
        "drop_path_rate": Take(rate, 0.0),
        "weight_init": Take(one_of({"": "timm", "jax": "jax"}), ""),
        "embed_norm_layer": Take(optional(_norm), None),
        "norm_layer": Take(_norm, None),
        "act_layer": Take(_activation, None),
        "mlp_layer": Take(_mlp, "Mlp"),
        "class": Take(
            one_of({"VisionTransformer": False, "VisionTransformerDistilled": True}),
            "VisionTransformer",
        ),
    },
    same={
        "scale_attn_norm": Same("a norm inside the attention", (False,)),
        "scale_mlp_norm": Same("a norm inside the MLP", (False,)),
        "dynamic_img_pad": Same("images padded to a multiple of the patch", (False,)),
        "patch_drop_rate": Same("patches dropped in training", (0,)),
        "fix_init": Same("an initialisation scaled by depth", (False,)),
        "embed_layer": Same("another stem", ("PatchEmbed",)),
        "block_fn": Same("another block", ("Block",)),
        "attn_layer": Same("another attention", ("Attention", "attn", "")),
    },
    ignored={
        "dynamic_img_size": "the result at img_size is the same",
        "device": "where the weights lie",
        "dtype": "how the weights are stored",
    },
    meant={"num_features": "embed_dim"},  # timm's attribute and the argument for it
)


def read_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Translates the arguments of timm's `VisionTransformer`, or what a name builds.

    Raises:
        ConfigError: With every problem found.
    """
    if "architecture" not in given:
        return _of_class(given)
    named = timm_names.resolve(given)
    fields = {**_of_class(named.arguments), **named.fields}
    said = {"num_features": named.num_features, "global_pool": named.global_pool}
    built = {"num_features": fields["embed_dim"], "global_pool": fields["global_pool"]}
    problems = [
        f"{name}: found {said[name]!r}, but timm builds this config with "
        f"{built[name]!r}; if the former is right, add "
        f"'model_args': {{{SPEC.meant.get(name, name)!r}: {said[name]!r}}}"
        for name in built
        if said[name] not in (None, built[name])
    ]
    if problems:
        raise ConfigError(problems, timm_names.WHAT)
    return fields


def _of_class(given: Mapping[str, Any]) -> dict[str, Any]:
    v = read(SPEC, given)
    problems = _distilled_problems(v) if v["class"] else []
    hidden = int(v["embed_dim"] * v["mlp_ratio"])
    if v["mlp_layer"] == "packed" and hidden % 2:
        problems.append(
            f"mlp_ratio: {v['mlp_ratio']} gives {hidden} hidden units, which "
            "SwiGLUPacked cannot halve"
        )
    patch_eps = v["embed_norm_layer"]
    if patch_eps not in (None, v["norm_layer"]):
        problems.append(
            f"embed_norm_layer: epsilon {patch_eps}, but norm_layer has "
            f"{v['norm_layer']}; the schema has one for both"
        )
    if problems:
        raise ConfigError(problems, SPEC.name)
    pool = v["global_pool"]
    norm_after = pool in ("avg", "max") if v["fc_norm"] is None else v["fc_norm"]
    return {
        "img_size": v["img_size"],
        "patch_size": v["patch_size"],
        "in_chans": v["in_chans"],
        "embed_dim": v["embed_dim"],
        "depth": v["depth"],
        "num_heads": v["num_heads"],
        "mlp_dim": hidden // 2 if v["mlp_layer"] == "packed" else hidden,
        "patch_bias": not v["pre_norm"],
        "patch_norm": "none" if patch_eps is None else "post",
        "pre_norm": v["pre_norm"],
        "class_token": v["class_token"],
        "dist_token": v["class"],
        "reg_tokens": v["reg_tokens"],
        "pos_embed": v["pos_embed"],
        "pos_embed_tokens": "patch" if v["no_embed_class"] else "all",
        "pos_resize": "bicubic_aa",
        "norm_eps": v["norm_layer"],
        "qkv_bias": v["qkv_bias"],
        "proj_bias": v["proj_bias"],
        "mlp_bias": v["proj_bias"],
        "qk_norm": v["qk_norm"],
        "init_values": v["init_values"] or None,
        "act_layer": v["act_layer"],
        "mlp_layer": "mlp" if v["mlp_layer"] == "mlp" else "swiglu",
        "final_norm": v["final_norm"] and not norm_after,
        "fc_norm": v["final_norm"] and norm_after,
        "global_pool": pool,
        "pool_include_prefix": v["pool_include_prefix"]
        and pool not in ("token", "none"),
        "distilled": v["class"],
        "num_classes": v["num_classes"],
        "drop_rate": v["drop_rate"],
        "pos_drop_rate": 0.0 if v["pos_embed"] == "none" else v["pos_drop_rate"],
        "proj_drop_rate": v["proj_drop_rate"],
        "attn_drop_rate": v["attn_drop_rate"],
        "drop_path_rate": v["drop_path_rate"],
        "weight_init": v["weight_init"],
    }


def _distilled_problems(v: dict[str, Any]) -> list[str]:
    """What the distilled class accepts and then cannot run, or silently leaves out."""
    wanted = {
        "global_pool": ("token",),
        "class_token": (True,),
        "reg_tokens": (0,),
        "no_embed_class": (False,),
        "pos_embed": ("learned",),
        "fc_norm": (None, False),
    }
    return [
        f"{name}: {v[name]!r} does not work with class='VisionTransformerDistilled'"
        for name, allowed in wanted.items()
        if v[name] not in allowed
    ]
