"""MONAI's `ViT`: the constructor arguments of 0.7 to 1.6.1.

- MONAI has one `dropout_rate` for positions, attention weights and both projections.
- Up to 1.2 `pos_embed` is the *projection* (`"conv"` or `"perceptron"`), as `proj_type`
  is since 1.3. The two projections are one function and differ in the layout of the
  file only, so the schema does not tell them apart.
- `pos_embed_type="none"` is a table that starts at zero, is added and is trained:
  `"learned"` here.
- `pos_embed_type="fourier"` is drawn at random and then frozen. Frozen and stored is
  what `"sincos"` means here; the stored table decides, not the formula.
- `num_classes` and `post_activation` mean nothing without `classification`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries.config_fields import (
    Same,
    Spec,
    Take,
    count,
    count_or_zero,
    flag,
    one_of,
    optional,
    rate,
    read,
    sizes,
)
from vit_config.errors import ConfigError

_PROJECTION = {"conv": "conv", "perceptron": "perceptron"}
_OLD_NAME = "; it is the old name of proj_type, positions are pos_embed_type"

SPEC = Spec(
    name="MONAI ViT",
    take={
        "in_channels": Take(count),
        "img_size": Take(sizes()),
        "patch_size": Take(sizes()),
        "hidden_size": Take(count, 768),
        "mlp_dim": Take(count_or_zero, 3072),
        "num_layers": Take(count, 12),
        "num_heads": Take(count, 12),
        "proj_type": Take(one_of(_PROJECTION), "conv"),
        "pos_embed": Take(optional(one_of(_PROJECTION, _OLD_NAME)), None),
        "pos_embed_type": Take(
            one_of(
                {
                    "none": "learned",
                    "learnable": "learned",
                    "sincos": "sincos",
                    "fourier": "sincos",
                }
            ),
            "learnable",
        ),
        "classification": Take(flag, False),
        "num_classes": Take(count, 2),
        "dropout_rate": Take(rate, 0.0),
        "spatial_dims": Take(one_of({2: 2, 3: 3}), 3),
        # MONAI compares with "Tanh"; whatever else stands there means no activation.
        "post_activation": Take(lambda v: "tanh" if v == "Tanh" else None, "Tanh"),
        "qkv_bias": Take(flag, False),
    },
    same={
        "_target_": Same(
            "another network",
            ("ViT", "monai.networks.nets.ViT", "monai.networks.nets.vit.ViT"),
        )
    },
    ignored={"save_attn": "keeps a copy of the attention weights"},
)


def read_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Translates the arguments of `monai.networks.nets.ViT`.

    Raises:
        ConfigError: With every problem found.
    """
    v = read(SPEC, given)
    if "proj_type" in given and v["pos_embed"] not in (None, v["proj_type"]):
        line = (
            f"pos_embed: {v['pos_embed']!r} with proj_type={v['proj_type']!r}; the two "
            "are one field, give one of them"
        )
        raise ConfigError([line], SPEC.name)
    _check_patches(v)
    head = v["classification"]
    return {
        "spatial_dims": v["spatial_dims"],
        "img_size": v["img_size"],
        "patch_size": v["patch_size"],
        "in_chans": v["in_channels"],
        "embed_dim": v["hidden_size"],
        "depth": v["num_layers"],
        "num_heads": v["num_heads"],
        "mlp_dim": v["mlp_dim"] or v["hidden_size"],
        "class_token": head,
        "pos_embed": v["pos_embed_type"],
        "pos_embed_tokens": "patch",
        "norm_eps": 1e-5,
        "qkv_bias": v["qkv_bias"],
        "global_pool": "token" if head else "none",
        "num_classes": v["num_classes"] if head else 0,
        "head_act": v["post_activation"] if head else None,
        "pos_drop_rate": v["dropout_rate"],
        "proj_drop_rate": v["dropout_rate"],
        "attn_drop_rate": v["dropout_rate"],
        "weight_init": "monai",
    }


def _check_patches(v: Mapping[str, Any]) -> None:
    """A perceptron takes whole patches only; a convolution leaves out the rest.

    Raises:
        ConfigError: If a perceptron's patches do not fill the image.
    """
    if "perceptron" not in (v["proj_type"], v["pos_embed"]):
        return
    dims = v["spatial_dims"]
    size, patch = (
        (value,) * dims if isinstance(value, int) else value
        for value in (v["img_size"], v["patch_size"])
    )
    if len(size) == len(patch) and any(s % p for s, p in zip(size, patch, strict=True)):
        line = (
            f"img_size: found {v['img_size']!r}; MONAI's perceptron needs a multiple "
            f"of patch_size, {v['patch_size']!r}"
        )
        raise ConfigError([line], SPEC.name)
