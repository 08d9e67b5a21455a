"""Cases of models that no package index has: their authors' own repositories."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tools.dialect_files import Case, imported

COMMITS = {
    # folder in `sources`: repository and commit
    "VideoMAE": "MCG-NJU/VideoMAE 14ef8d856287c94ef1f985fe30f958eb4ec2c55d",
    "jepa": "facebookresearch/jepa 51c59d518fc63c08464af6de585f78ac0c7ed4d5",
    "ijepa": "facebookresearch/ijepa 52c1ae95d05f743e000e8f10a1f3a79b10cff048",
    "3DINO": "AICONSlab/3DINO 85bd4435c1b2ada41cd34cd15cad17c4d3c88d89",
    "dino": "facebookresearch/dino 7c446df5b9f45747937fb0d72314eb9f7b66930a",
    "dinov2": "facebookresearch/dinov2 b8931f7bf91576930313be2c6d6af376033b35f0",
    "mae": "facebookresearch/mae efb2a8062c206524e35e47d04501ed4f544c0ae8",
    "deit": "facebookresearch/deit 7e160fe43f0252d17191b71cbb5826254114ea5b",
}
NORM = partial(nn.LayerNorm, eps=1e-6)
SIZE: dict[str, Any] = {
    "img_size": 24,
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 1.5,
}
PLAIN: dict[str, Any] = {**SIZE, "qkv_bias": True, "norm_layer": NORM}
ASK = {"num_heads": 3, "img_size": 24}
CLIP_ASK = {"num_heads": 3, "img_size": [8, 24, 24]}


def logits(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


def encoder_tokens(model: nn.Module, x: Tensor) -> Tensor:
    """VideoMAE's pre-training model with nothing masked."""
    patches = model.encoder.patch_embed.num_patches
    return model.encoder(x, torch.zeros(len(x), patches, dtype=torch.bool))


def unshuffled(model: nn.Module, x: Tensor) -> Tensor:
    """MAE's encoder with nothing masked; it shuffles all the same."""
    tokens, _, order = model.forward_encoder(x, 0.0)
    places = order[..., None].expand(-1, -1, tokens.shape[-1])
    return torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, places)], 1)


def mae(folder: Path) -> nn.Module:
    """MAE was written for timm 0.3.2 and an older numpy."""
    vars(np)["float"] = float
    module = imported(folder, "models_mae")
    block = module.Block

    def without_scale(*args: Any, qk_scale: None, **rest: Any) -> nn.Module:
        return block(*args, **rest)

    module.Block = without_scale
    return module.MaskedAutoencoderViT(
        **SIZE,
        norm_layer=NORM,
        decoder_embed_dim=16,
        decoder_depth=1,
        decoder_num_heads=2,
    )


def build(folder: Path, module: str, name: str, **arguments: Any) -> nn.Module:
    return getattr(imported(folder, module), name)(**arguments)


def cases(sources: Path) -> list[Case]:
    """All of them; the clones lie in `sources`."""

    def case(
        name: str, folder: str, model: Any, dialect: str, ask: Any, **more: Any
    ) -> Case:
        run = more.pop("run", logits)
        size = more.pop("size", (3, 24, 24))
        made = partial(model, sources / folder)
        library = COMMITS[folder]
        return Case(name, library, made, run, size, dialect, ask, **more)

    def of(module: str, cls: str, **arguments: Any) -> Any:
        return partial(build, module=module, name=cls, **arguments)

    film = {"size": (3, 8, 24, 24)}
    frames = {"all_frames": 8, "tubelet_size": 4}
    head = {"num_classes": 3, "init_scale": 1.0}
    finetuned = of("modeling_finetune", "VisionTransformer", **PLAIN, **frames, **head)
    scaled = of(
        "modeling_finetune",
        "VisionTransformer",
        **{**PLAIN, **frames, **head, "init_values": 0.1},
        use_learnable_pos_emb=True,
    )
    sides = {key: SIZE[key] for key in ("img_size", "patch_size")}
    encoder = {f"encoder_{k}": v for k, v in SIZE.items() if k not in sides}
    encoder = {k: v for k, v in encoder.items() if k != "encoder_mlp_ratio"}
    pretrained = of(
        "modeling_pretrain",
        "PretrainVisionTransformer",
        **sides,
        **encoder,
        mlp_ratio=1.5,
        qkv_bias=True,
        norm_layer=NORM,
        tubelet_size=4,
        decoder_num_classes=768,
        decoder_embed_dim=16,
        decoder_depth=1,
        decoder_num_heads=2,
        init_values=0.0,
    )
    vit = "dinov2.models.vision_transformer"
    chunks = {"block_chunks": 4, "depth": 8}
    jepa = {"beside": {"target_encoder.module.backbone.norm.bias": (24,)}}
    heads = {
        f"teacher.{name}": shape
        for name, shape in (
            ("dino_head.mlp.0.weight", (8, 24)),
            ("dino_head.last_layer.weight_g", (5, 1)),
            ("ibot_head.mlp.0.bias", (8,)),
        )
    }
    token = {**ASK, "global_pool": "token"}
    return [
        case(
            "videomae_finetuned",
            "VideoMAE",
            finetuned,
            "videomae",
            {"changes": CLIP_ASK},
            prefix="module.",
            **film,
        ),
        case(
            "videomae_scaled",
            "VideoMAE",
            scaled,
            "videomae",
            {"changes": CLIP_ASK},
            **film,
        ),
        case(
            "videomae_encoder",
            "VideoMAE",
            pretrained,
            "videomae",
            {"changes": {**CLIP_ASK, "img_size": [16, 24, 24]}},
            size=(3, 16, 24, 24),
            run=encoder_tokens,
        ),
        case(
            "facebook_vjepa",
            "jepa",
            of(
                "src.models.vision_transformer",
                "VisionTransformer",
                **PLAIN,
                num_frames=8,
                tubelet_size=4,
            ),
            "facebook@vjepa",
            {
                "from_dialect": "facebook@vjepa",
                "prefix": "encoder.module.backbone.",
                "changes": {**CLIP_ASK, "rope": None},
            },
            prefix="encoder.module.backbone.",
            **jepa,
            **film,
        ),
        case(
            "facebook_ijepa",
            "ijepa",
            of(
                "src.models.vision_transformer",
                "VisionTransformer",
                **{**PLAIN, "img_size": [24]},
            ),
            "facebook@ijepa",
            {"from_dialect": "facebook@ijepa", "changes": ASK},
            prefix="target_encoder.module.",
        ),
        case(
            "facebook_3dino",
            "3DINO",
            of(
                vit,
                "DinoVisionTransformer3d",
                **{**SIZE, **chunks, "init_values": 1e-5},
            ),
            "facebook@dinov2+chunked",
            {"changes": {**token, "img_size": [24] * 3}},
            prefix="teacher.backbone.",
            beside=heads,
            size=(1, 24, 24, 24),
        ),
        case(
            "facebook_dinov2",
            "dinov2",
            of(
                vit,
                "DinoVisionTransformer",
                **{**SIZE, "init_values": 1.0, "block_chunks": 0},
                num_register_tokens=2,
            ),
            "facebook@dinov2",
            {"changes": token},
        ),
        case(
            "facebook_dinov2_chunked",
            "dinov2",
            of(
                vit,
                "DinoVisionTransformer",
                **{**SIZE, **chunks, "init_values": 1.0, "ffn_layer": "swiglu"},
            ),
            "facebook@dinov2+swiglu+chunked",
            {"changes": token},
            prefix="teacher.backbone.",
            beside=heads,
        ),
        case(
            "facebook_dino",
            "dino",
            of(
                "vision_transformer",
                "VisionTransformer",
                **{**PLAIN, "img_size": [24]},
                num_classes=0,
            ),
            "facebook@dino",
            {"from_dialect": "facebook@dino", "changes": token},
            prefix="teacher.backbone.",
            beside={
                "teacher.head.mlp.0.weight": (8, 24),
                "teacher.head.last_layer.weight_v": (5, 8),
            },
        ),
        case(
            "facebook_mae",
            "mae",
            mae,
            "facebook@mae",
            {"changes": {**ASK, "global_pool": "none"}},
            run=unshuffled,
            changes="timm 1.0.31 for 0.3.2, without qk_scale=None; np.float is float",
        ),
        case(
            "facebook_deit_distilled",
            "deit",
            of("models", "DistilledVisionTransformer", **PLAIN, num_classes=3),
            "facebook@vit",
            {"from_dialect": "facebook@vit", "changes": ASK},
            prefix="model.",
            changes="timm 1.0.31 for 0.3.2",
        ),
        case(
            "facebook_deit3",
            "deit",
            deit3,
            "facebook@deit3",
            {"changes": {**ASK, "global_pool": "token", "rope": None}},
            prefix="model.",
            changes="timm 1.0.31 for 0.3.2",
        ),
    ]


def deit3(folder: Path) -> nn.Module:
    module = imported(folder, "models_v2")
    return module.vit_models(
        **PLAIN, num_classes=3, block_layers=module.Layer_scale_init_Block
    )
