"""What to do about a config that is not complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vit_config import ViTConfig
from vit_config.presets import preset_names


def advice(missing: list[str], says: Mapping[str, Any]) -> str:
    """How to say what a file does not: presets that fit it, and examples."""
    heads = max(says.get("embed_dim", 64) // 64, 1)
    dims = says.get("spatial_dims", 3 if "patch_size" in missing else 2)
    examples = {
        "num_heads": f"{heads}",
        "img_size": "'[" + ",".join(["224" if dims == 2 else "96"] * dims) + "]'",
        "norm_eps": "1e-6",
        "act_layer": "'\"gelu\"'",
        "global_pool": "'\"token\"'",
        "patch_size": "'[16,16,16]'",
    }
    sizes = ("embed_dim", "depth", "mlp_dim", "patch_size", "spatial_dims", "in_chans")
    fits = []
    for name in preset_names():
        preset = ViTConfig.preset(name)
        if all(getattr(preset, s) == says[s] for s in sizes if s in says):
            fits.append(name)
    sets = " ".join(f"--set {name}={examples[name]}" for name in missing)
    preset_words = f"--preset {' or '.join(fits[:3])}, or " if fits else ""
    return f"Try {preset_words}{sets} (with its own values), or --config FILE."


def listed(words: list[str]) -> str:
    """`["a", "b", "c"]` -> `"a, b and c"`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
