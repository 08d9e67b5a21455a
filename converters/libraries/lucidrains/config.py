"""lucidrains' vit-pytorch: `ViT`, `SimpleViT` and their 3D forms.

The field `"class"` says which one, because their arguments do not. All have torch's
epsilon 1e-5 and no biases on query, key and value.

The arguments never changed, what they mean did; `"version"` says whose they are, and
without it 1.26.11's are meant. Before 1.0 there are no norms around the patch
projection; before 1.4 (in `vit_3d` to this day) the norm is in the head, after the
pooling; before 1.16 `ViT` has a class token whatever `pool` is, counted in the mean.
Releases looked into: 0.40.2, 1.0.0, 1.2.0, 1.4.1, 1.5.0, 1.10.0, 1.15.0, 1.15.7, 1.16.0
to 1.16.2, 1.16.5 and 1.26.11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries.config_fields import (
    Refused,
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


def _release(value: Any) -> tuple[int, ...]:
    numbers = str(value).split(".")
    if not isinstance(value, str) or not all(part.isdecimal() for part in numbers):
        raise Refused('a release, such as "1.2.0"')
    return tuple(map(int, numbers))


_BOTH = {"class": Take(str), "version": Take(_release, "1.26.11")}
SPECS = {
    name: Spec(f"vit-pytorch {name}", take={**_BOTH, **take})
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
        "patch_norm": "dual" if v["version"] >= (1,) else "none",
        "norm_eps": 1e-5,
        "qkv_bias": False,
        "num_classes": v["num_classes"],
        "weight_init": "monai",  # torch's own defaults, as there
        **_geometry(v),
    }
    # The LayerNorm is in the head, after the pooling.
    late = {"final_norm": False, "fc_norm": True}
    if "pool" not in v:
        return {
            **common,
            **(late if v["version"] < (1, 4) else {}),
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
    if "frames" in v or v["version"] < (1, 16):
        if not v["num_classes"]:
            line = "num_classes: 0; this class has a head of no outputs then"
            raise ConfigError([line], spec.name)
        # A class token whatever the pooling, counted in the mean.
        return {
            **common,
            **(late if "frames" in v or v["version"] < (1, 4) else {}),
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
