"""Well-known public checkpoints, by family: what `verify_real_checkpoints` converts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint.

    Attributes:
        name: What the results call it.
        family: The page in `docs/dialects` that it belongs to.
        source: `hf://org/name`, with `@revision` and `/file` where needed; a URL; or a
            path.
        options: Options of `convert`: what the file does not say.
        library: Who computes the outputs it is compared with: `"transformers"`,
            `"timm"`, `"torchvision"`, or an empty text.
        arguments: Of the library's constructor, where no config lies beside the file.
    """

    name: str
    family: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    library: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


_FACEBOOK = "https://dl.fbaipublicfiles.com"
_TORCHVISION = "https://download.pytorch.org/models"
_GOOGLE = "https://storage.googleapis.com"

_TIMM = (
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "vit_base_patch16_224.augreg2_in21k_ft_in1k",
    "vit_base_patch16_224.orig_in21k",
    "vit_base_patch16_224.mae",
    "vit_small_patch16_224.dino",
    "vit_small_patch14_dinov2.lvd142m",
    "vit_small_patch14_reg4_dinov2.lvd142m",
    "deit_tiny_distilled_patch16_224.fb_in1k",
    "deit3_small_patch16_224.fb_in22k_ft_in1k",
    "vit_base_patch16_clip_224.openai",
    "vit_base_patch16_siglip_224.webli",
)
_HUGGINGFACE = (
    "google/vit-base-patch16-224",
    "google/vit-base-patch16-224-in21k",
    "facebook/dino-vits16",
    "facebook/deit-tiny-distilled-patch16-224",
    "facebook/dinov2-small",
    "facebook/dinov2-small-imagenet1k-1-layer",
    "facebook/dinov2-with-registers-small",
    "facebook/vit-mae-base",
    "facebook/vit-msn-small",
    "facebook/ijepa_vith14_1k",
    "openai/clip-vit-base-patch32",
    "google/siglip-base-patch16-224",
    "MCG-NJU/videomae-base-finetuned-kinetics",
    "google/vivit-b-16x2-kinetics400",
)


def _torchvision(name: str, width: int, depth: int, patch: int) -> Checkpoint:
    arguments = {
        "image_size": 224,
        "patch_size": patch,
        "num_layers": depth,
        "num_heads": width // 64,
        "hidden_dim": width,
        "mlp_dim": 4 * width,
    }
    options = {"from_dialect": "torchvision", "config": arguments}
    source = f"{_TORCHVISION}/{name}.pth"
    return Checkpoint(name, "torchvision", source, options, "torchvision", arguments)


def _facebook(name: str, path: str, **options: Any) -> Checkpoint:
    return Checkpoint(name, "facebook", f"{_FACEBOOK}/{path}", options)


_SMALL = {"num_heads": 6, "global_pool": "token"}

CHECKPOINTS = (
    *(Checkpoint(n, "timm", f"hf://timm/{n}", library="timm") for n in _TIMM),
    *(
        Checkpoint(n, "huggingface", f"hf://{n}", library="transformers")
        for n in _HUGGINGFACE
    ),
    _torchvision("vit_b_16-c867db91", 768, 12, 16),
    _torchvision("vit_b_32-d86f8d99", 768, 12, 32),
    _facebook(
        "dino_deitsmall16",
        "dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",
        from_dialect="facebook@dino",
        changes={**_SMALL, "img_size": 224},
    ),
    _facebook(
        "dinov2_vits14",
        "dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
        changes={**_SMALL, "img_size": 518},
    ),
    _facebook(
        "dinov2_vits14_reg4",
        "dinov2/dinov2_vits14/dinov2_vits14_reg4_pretrain.pth",
        changes={**_SMALL, "img_size": 518},
    ),
    _facebook(
        "mae_vit_base",
        "mae/pretrain/mae_pretrain_vit_base.pth",
        from_dialect="facebook@vit",
        changes={"num_heads": 12, "img_size": 224, "global_pool": "none"},
    ),
    _facebook(
        "deit_tiny",
        "deit/deit_tiny_patch16_224-a1311bcf.pth",
        from_dialect="facebook@vit",
        changes={"num_heads": 3, "img_size": 224, "global_pool": "token"},
    ),
    _facebook(
        "deit_tiny_distilled",
        "deit/deit_tiny_distilled_patch16_224-b40b3cf7.pth",
        from_dialect="facebook@vit",
        changes={"num_heads": 3, "img_size": 224},
    ),
    Checkpoint(
        "open_clip_vit_b32_laion2b",
        "openai_clip",
        "hf://laion/CLIP-ViT-B-32-laion2B-s34B-b79K/open_clip_pytorch_model.bin",
        {"changes": {"num_heads": 12, "img_size": 224, "act_layer": "gelu"}},
    ),
    Checkpoint(
        "m3d_clip",
        "monai",
        "hf://GoodBaiBai88/M3D-CLIP/pytorch_model.bin",
        {"preset": "m3d-clip"},
    ),
    Checkpoint(
        "segvol", "monai", "hf://BAAI/SegVol/pytorch_model.bin", {"preset": "segvol"}
    ),
    Checkpoint(
        "vit_jax_b16_in21k",
        "jax",
        f"{_GOOGLE}/vit_models/imagenet21k/ViT-B_16.npz",
        {"changes": {"img_size": 224}},
    ),
    Checkpoint(
        "augreg_ti16_in1k",
        "jax",
        f"{_GOOGLE}/vit_models/augreg/Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-"
        "do_0.0-sd_0.0--imagenet2012-steps_20k-lr_0.03-res_224.npz",
        {"changes": {"img_size": 224}},
    ),
    Checkpoint(
        "siglip_b16_webli",
        "jax",
        f"{_GOOGLE}/big_vision/siglip/webli_en_b16_224_63724782.npz",
        {"changes": {"img_size": 224}},
    ),
    Checkpoint(
        "keras_vit_b16_imagenet",
        "keras_hub",
        "hf://keras/vit_base_patch16_224_imagenet",
    ),
)
"""None has been converted so far: addresses are from the projects' own pages."""
