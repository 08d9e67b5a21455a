"""lucidrains' vit-pytorch 1.26.11: `ViT`, `SimpleViT` and their 3D forms.

The field `"class"` says which one, because their arguments do not. All have torch's
epsilon 1e-5, no biases on query, key and value, and a LayerNorm on either side of the
patch projection.

Only the shapes of this generation of `vit.py` are meant (1.16 and later): older ones
have a class token whatever `pool` is, and heads of another kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vit_config.dialects.core import (
    Spec,
    Take,
    count,
    count_or_zero,
    one_of,
    rate,
    read,
    sizes,
)
from vit_config.errors import ConfigError

_PLANE = {"image_size": Take(sizes(2)), "patch_size": Take(sizes(2))}
_VOLUME = {
    "image_size": Take(sizes(2)),
    "image_patch_size": Take(sizes(2)),
    "frames": Take(count),
    "frame_patch_size": Take(count),
}
_SIZE = {
    "dim": Take(count),
    "depth": Take(count),
    "heads": Take(count),
    "mlp_dim": Take(count),
    "channels": Take(count, 3),
    "dim_head": Take(count, 64),
}
_POOL = {
    "pool": Take(one_of({"cls": "token", "mean": "avg"}), "cls"),
    "dropout": Take(rate, 0.0),
    "emb_dropout": Take(rate, 0.0),
}
# Without classes `vit.ViT` returns its tokens; the others get a head of no outputs.
_MAYBE, _HEAD = {"num_classes": Take(count_or_zero)}, {"num_classes": Take(count)}

SPECS = {
    name: Spec(f"vit-pytorch {name}", take={"class": Take(str), **take})
    for name, take in {
        "vit.ViT": {**_PLANE, **_MAYBE, **_SIZE, **_POOL},
        "vit_3d.ViT": {**_VOLUME, **_HEAD, **_SIZE, **_POOL},
        "simple_vit.SimpleViT": {**_PLANE, **_HEAD, **_SIZE},
        "simple_vit_3d.SimpleViT": {**_VOLUME, **_HEAD, **_SIZE},
    }.items()
}


def read_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Translates the arguments of a vit-pytorch class, with `"class"` among them.

    Raises:
        ConfigError: With every problem found.
    """
    spec = SPECS.get(str(given.get("class")))
    if spec is None:
        listed = ", ".join(map(repr, SPECS))
        line = f"class: found {given.get('class')!r}; required, one of {listed}"
        raise ConfigError([line], "vit-pytorch")
    v = read(spec, given)
    common: dict[str, Any] = {
        "in_chans": v["channels"],
        "embed_dim": v["dim"],
        "depth": v["depth"],
        "num_heads": v["heads"],
        "head_dim": v["dim_head"],
        "mlp_dim": v["mlp_dim"],
        "patch_norm": "dual",
        "norm_eps": 1e-5,
        "qkv_bias": False,
        "num_classes": v["num_classes"],
        "weight_init": "monai",  # torch's own defaults, as there
        **_geometry(v),
    }
    if "pool" not in v:
        return {
            **common,
            "class_token": False,
            "pos_embed": "sincos",  # computed there, not in the file
            "proj_bias": False,
            "global_pool": "avg",
        }
    if v["heads"] == 1 and v["dim_head"] == v["dim"]:
        line = (
            "heads: 1 with dim_head equal to dim; this library then leaves out the "
            "output projection of the attention, which the schema cannot say"
        )
        raise ConfigError([line], spec.name)
    common |= {
        "pos_drop_rate": v["emb_dropout"],
        "proj_drop_rate": v["dropout"],
        "attn_drop_rate": v["dropout"],
    }
    if "frames" in v:
        # A class token whatever the pooling, counted in the mean; the LayerNorm is in
        # the head, after the pooling.
        return {
            **common,
            "final_norm": False,
            "fc_norm": True,
            "global_pool": v["pool"],
            "pool_include_prefix": v["pool"] == "avg",
        }
    return {
        **common,
        "class_token": v["pool"] == "token",
        "global_pool": v["pool"] if v["num_classes"] else "none",
    }


def _geometry(v: dict[str, Any]) -> dict[str, Any]:
    if "frames" not in v:
        return {"img_size": v["image_size"], "patch_size": v["patch_size"]}
    return {
        "spatial_dims": 3,
        "img_size": (v["frames"], *v["image_size"]),
        "patch_size": (v["frame_patch_size"], *v["image_patch_size"]),
    }
