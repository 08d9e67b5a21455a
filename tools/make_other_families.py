"""Makes `tests/dialects/other_families.json`: names of networks that are no plain ViTs.

Run in the environment of `make_goldens`. Kept are names and shapes of everything
outside of the blocks, and of the first block.
"""

from __future__ import annotations

import json
import re
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

OUT = Path(__file__).resolve().parent.parent / "tests" / "dialects"
SIZE = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 36,
}
IMAGE = {**SIZE, "image_size": 32, "patch_size": 8}
SAM = {"hidden_size": 16, "image_size": 64, "patch_size": 16}

# family as the refusal has to name it: model class and arguments of its config
TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "BEiT": ("BeitForImageClassification", IMAGE),
    "Data2Vec": ("Data2VecVisionForImageClassification", IMAGE),
    "Swin": (
        "SwinForImageClassification",
        {"image_size": 32, "embed_dim": 12, "depths": [1, 1], "num_heads": [2, 2]},
    ),
    "DINOv3": ("DINOv3ViTModel", IMAGE),
    "TimeSformer": (
        "TimesformerForVideoClassification",
        {**IMAGE, "num_frames": 2},
    ),
    "Hiera": (
        "HieraForImageClassification",
        {"embed_dim": 12, "image_size": [64, 64], "num_heads": [1, 1, 2, 2]},
    ),
    "V-JEPA 2": (
        "VJEPA2Model",
        {
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "crop_size": 32,
            "frames_per_clip": 4,
            "patch_size": 8,
            "pred_hidden_size": 24,
            "pred_num_hidden_layers": 1,
            "pred_num_attention_heads": 2,
        },
    ),
    "Siglip2": (
        "Siglip2VisionModel",
        {**SIZE, "patch_size": 8, "num_patches": 16},
    ),
    "AIMv2": ("Aimv2VisionModel", IMAGE),
    "YOLOS": ("YolosModel", {**IMAGE, "image_size": [32, 32]}),
    "ViTDet": ("VitDetModel", {k: v for k, v in IMAGE.items() if "inter" not in k}),
    "SAM": (
        "SamModel",
        {
            "vision_config": {**SAM, "num_hidden_layers": 2, "output_channels": 16},
            "prompt_encoder_config": SAM,
            "mask_decoder_config": {"hidden_size": 16, "mlp_dim": 20},
        },
    ),
}
TIMM = {
    "EVA": "eva02_tiny_patch14_224",
    "BEiT": "beit_base_patch16_224",
    "rotary": "vit_small_patch16_dinov3",
    "rotary ": "vit_small_patch16_rope_224",
    "rotary  ": "vit_betwixt_patch16_rope_reg4_gap_256",
    "Swin": "swin_tiny_patch4_window7_224",
    "Hiera": "hiera_tiny_224",
    "CaiT": "cait_xxs24_224",
    "SAM": "samvit_base_patch16",
    "relative positions": "vit_relpos_small_patch16_224",
    "hybrid": "vit_small_r26_s32_224",
    "AIMv2": "aimv2_large_patch14_224",
    "XCiT": "xcit_nano_12_p16_224",
    "NaFlexViT": "naflexvit_base_patch16_gap",
    "parallel": "vit_base_patch16_xp_224",
}


def listed(model: nn.Module) -> dict[str, list[int]]:
    """Names and shapes, the blocks after the first left out."""
    later = re.compile(r"\.(?:[1-9]\d*)\.")
    return {
        name: list(tensor.shape)
        for name, tensor in model.state_dict().items()
        if not later.search(name)
    }


def main() -> None:
    import timm
    import transformers
    from monai.networks.nets import NaViT, SwinUNETR
    from vit_pytorch import cait, na_vit

    found = {}
    for family, (name, fields) in TRANSFORMERS.items():
        cls = getattr(transformers, name)
        with torch.device("meta"):
            model = cls(cls.config_class(**fields))
        found[f"transformers {name}"] = (family, listed(model))
    for family, name in TIMM.items():
        with torch.device("meta"):
            model = timm.create_model(name)
        found[f"timm {name}"] = (family.strip(), listed(model))
    sizes = {"num_classes": 3, "num_heads": 3, "hidden_size": 24, "mlp_dim": 36}
    plane = {"image_size": 32, "patch_size": 8, "num_classes": 3, "dim": 24}
    others = {
        "monai SwinUNETR": ("Swin UNETR", SwinUNETR(1, 2, feature_size=12)),
        "monai NaViT": ("NaViT", NaViT(32, 8, num_layers=2, **sizes)),
        "vit-pytorch NaViT": (
            "NaViT",
            na_vit.NaViT(**plane, depth=2, heads=3, mlp_dim=36),
        ),
        "vit-pytorch CaiT": (
            "CaiT",
            cait.CaiT(**plane, depth=1, cls_depth=1, heads=3, mlp_dim=36),
        ),
    }
    found |= {name: (family, listed(model)) for name, (family, model) in others.items()}
    libraries = ("transformers", "timm", "monai", "vit-pytorch")
    text = {
        "versions": {name: version(name) for name in libraries},
        "networks": {
            name: {"family": family, "tensors": names}
            for name, (family, names) in found.items()
        },
    }
    path = OUT / "other_families.json"
    path.write_text(json.dumps(text, separators=(",", ":"), sort_keys=True) + "\n")
    print(len(found), "networks,", path.stat().st_size, "bytes")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
