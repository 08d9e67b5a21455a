"""Makes tests/steps/goldens.npz: what libraries make of tables and kernels.

    PYTHONPATH=. python tools/make_step_goldens.py

needs torch, timm, torchvision and transformers. Inputs come from `tests.fill`, so only
results are kept, and the versions that made them.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from tests.steps.golden_cases import CHANNELS, KERNELS, TABLES, kernel, table

OUT = Path(__file__).resolve().parent.parent / "tests" / "steps" / "goldens.npz"


def timm_table(old, new, prefix, interpolation, antialias) -> torch.Tensor:
    from timm.layers import resample_abs_pos_embed

    return resample_abs_pos_embed(
        torch.from_numpy(table(old, prefix)),
        list(new),
        list(old),
        num_prefix_tokens=prefix,
        interpolation=interpolation,
        antialias=antialias,
    )


def torchvision_table(old, new, prefix) -> torch.Tensor:
    from torchvision.models.vision_transformer import interpolate_embeddings

    state = {"encoder.pos_embedding": torch.from_numpy(table(old, prefix))}
    return interpolate_embeddings(new[0] * 4, 4, state)["encoder.pos_embedding"]


def huggingface_table(old, new, prefix) -> torch.Tensor:
    from transformers import ViTConfig
    from transformers.models.vit.modeling_vit import ViTEmbeddings

    start = table(old, prefix)
    config = ViTConfig(image_size=old[0] * 4, patch_size=4, hidden_size=start.shape[-1])
    embeddings = ViTEmbeddings(config)
    embeddings.position_embeddings.data = torch.from_numpy(start)
    tokens = torch.zeros(1, 1 + new[0] * new[1], start.shape[-1])
    with torch.no_grad():
        return embeddings.interpolate_pos_encoding(tokens, new[0] * 4, new[1] * 4)


def main() -> None:
    from timm.layers.patch_embed import resample_patch_embed
    from timm.models._manipulate import adapt_input_conv

    makers = {
        "timm": lambda *a: timm_table(*a, "bicubic", True),
        "timm_flexivit": lambda *a: timm_table(*a, "bilinear", False),
        "torchvision": torchvision_table,
        "huggingface": huggingface_table,
    }
    found = {}
    for name, (who, _, *geometry) in TABLES.items():
        found[name] = makers[who](*geometry).numpy()
    for name, (rule, old, new) in KERNELS.items():
        found[name] = resample_patch_embed(
            torch.from_numpy(kernel(old)),
            list(new),
            interpolation=rule.removesuffix("_aa"),
            antialias=rule.endswith("_aa"),
        ).numpy()
    for name, (chans, into) in CHANNELS.items():
        start = torch.from_numpy(kernel((2, 3), chans))
        found[name] = adapt_input_conv(into, start).numpy()
    made_by = {lib: version(lib) for lib in ("timm", "torchvision", "transformers")}
    made_by["torch"] = torch.__version__
    np.savez_compressed(OUT, versions=np.array(json.dumps(made_by)), **found)
    print(OUT.name, OUT.stat().st_size, "bytes", made_by)


if __name__ == "__main__":
    main()
