"""What to do about a config that is not complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.wording import Blank, options, setting
from vit_config import ConfigError, ViTConfig
from vit_config.dialects import timm_names
from vit_config.presets import preset_names


def advice(missing: list[str], says: Mapping[str, Any], timm: bool = False) -> str:
    """How to say what a file does not: presets that fit it, and examples.

    Args:
        missing: Fields of the config that nobody said.
        says: Fields that the file says.
        timm: Whether timm's own names count as presets.
    """
    heads = max(says.get("embed_dim", 64) // 64, 1)
    dims = says.get("spatial_dims", 3 if "patch_size" in missing else 2)
    examples = {
        "num_heads": heads,
        "img_size": [224 if dims == 2 else 96] * dims,
        "norm_eps": 1e-6,
        "act_layer": "gelu",
        "global_pool": "token",
        "patch_size": [16] * dims,
        "pos_embed": "none",
    }
    sizes = ("embed_dim", "depth", "mlp_dim", "patch_size", "spatial_dims", "in_chans")
    fits = []
    for name in preset_names():
        preset = ViTConfig.preset(name)
        if all(getattr(preset, s) == says[s] for s in sizes if s in says):
            fits.append(name)
    fits = (_timm_fits(says) if timm else []) or fits
    sets = setting(**{name: examples[name] for name in missing})
    names = (options(preset=name) for name in fits[:3])
    preset_words = f"{' or '.join(names)}, or " if fits else ""
    config = options(config=Blank("FILE"))
    return f"Try {preset_words}{sets} (with its own values), or {config}."


def _timm_fits(says: Mapping[str, Any]) -> list[str]:
    """Names of timm that have the tensors of a file, but for its head."""
    fields = (
        *("embed_dim", "depth", "mlp_dim", "mlp_layer", "patch_size", "pre_norm"),
        *("class_token", "dist_token", "reg_tokens", "qkv_bias", "qk_norm"),
        *("final_norm", "fc_norm", "global_pool"),
    )
    found = []
    for name in timm_names.names():
        try:
            config = ViTConfig.from_dialect("timm", {"architecture": name})
        except ConfigError:
            continue
        scaled = (config.init_values is None) == (says.get("init_values") is None)
        same = all(getattr(config, f) == says[f] for f in fields if f in says)
        if scaled and same:
            found.append(name)
    return found


def listed(words: list[str]) -> str:
    """`["a", "b", "c"]` -> `"a, b and c"`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
