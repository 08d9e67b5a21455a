"""Cases of libraries that a package index has, in today's and in older releases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tools.dialect_files import Case, imported

SIZE = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 36,
}
PLANE = {**SIZE, "image_size": [48, 32], "patch_size": [8, 16]}
SQUARE = {**SIZE, "image_size": 24, "patch_size": 8}
DINOV2 = {k: v for k, v in SQUARE.items() if k != "intermediate_size"}
VIDEO = {**SIZE, "image_size": [24, 32], "num_frames": 8, "num_labels": 3}
ODD = {"layer_norm_eps": 0.03, "hidden_act": "relu"}  # neither can be taken for another
TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "vocab_size": 30,
    "max_position_embeddings": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


# ---- transformers -------------------------------------------------------------------


def hugging(name: str, whole: str, fields: dict[str, Any]) -> nn.Module:
    import transformers

    cls = getattr(transformers, name)
    if not whole:
        return cls(cls.config_class(**fields))
    config = getattr(transformers, whole)
    own = {k: fields[k] for k in ("num_labels", "projection_dim") if k in fields}
    vision = {k: v for k, v in fields.items() if k not in own}
    return cls(config(vision_config=vision, text_config=TEXT, **own))


def run_hugging(model: nn.Module, x: Tensor, output: str) -> Tensor:
    if x.ndim == 5:
        x = x.transpose(1, 2)  # frames before channels
    if output == "image_features":
        return model.get_image_features(pixel_values=x).pooler_output
    return model(pixel_values=x)[output]


def hf(
    name: str,
    cls: str,
    dialect: str,
    fields: dict[str, Any],
    size: tuple[int, ...] = (3, 48, 32),
    output: str = "logits",
    whole: str = "",
    **more: Any,
) -> Case:
    return Case(
        f"hf_{name}",
        "transformers",
        partial(hugging, cls, whole, fields),
        partial(run_hugging, output=output),
        size,
        f"huggingface@{dialect}",
        {"folder": True},
        **more,
    )


TOKENS, POOLED = "last_hidden_state", "pooler_output"
HF = [
    hf(
        "vit",
        "ViTForImageClassification",
        "vit",
        {**PLANE, **ODD, "num_labels": 3, "num_channels": 1, "qkv_bias": False},
        (1, 48, 32),
    ),
    hf("vit_tokens", "ViTModel", "vit-bare", {**PLANE, **ODD}, output=TOKENS),
    hf("deit", "DeiTForImageClassification", "deit", {**PLANE, "num_labels": 3}),
    hf(
        "deit_teacher",
        "DeiTForImageClassificationWithTeacher",
        "deit-teacher",
        {**PLANE, "num_labels": 3},
    ),
    hf("msn", "ViTMSNForImageClassification", "vit-msn", {**PLANE, "num_labels": 3}),
    hf("ijepa", "IJepaForImageClassification", "ijepa", {**PLANE, "num_labels": 3}),
    hf(
        "dinov2",
        "Dinov2ForImageClassification",
        "dinov2",
        {**DINOV2, "mlp_ratio": 2, "num_labels": 3, "use_swiglu_ffn": True},
        (3, 24, 24),
    ),
    hf(
        "dinov2_registers",
        "Dinov2WithRegistersForImageClassification",
        "dinov2-registers",
        {**DINOV2, "mlp_ratio": 2, "num_register_tokens": 3, "num_labels": 3},
        (3, 24, 24),
    ),
    hf(
        "dinov2_tokens",
        "Dinov2Model",
        "dinov2-bare",
        {**DINOV2, **ODD, "num_channels": 4},
        (4, 24, 24),
        TOKENS,
    ),
    hf("clip", "CLIPVisionModel", "clip", SQUARE, (3, 24, 24), POOLED),
    hf(
        "clip_projection",
        "CLIPVisionModelWithProjection",
        "clip-projection",
        {**SQUARE, **ODD, "projection_dim": 5, "num_channels": 1},
        (1, 24, 24),
        "image_embeds",
    ),
    hf(
        "clip_whole",
        "CLIPModel",
        "clip-projection",
        {**SQUARE, "projection_dim": 5},
        (3, 24, 24),
        "image_features",
        "CLIPConfig",
    ),
    hf(
        "clip_classifier",
        "CLIPForImageClassification",
        "clip-classifier",
        {**SQUARE, "num_labels": 3},
        (3, 24, 24),
        whole="CLIPConfig",
    ),
    hf(
        "siglip",
        "SiglipVisionModel",
        "siglip",
        {**SQUARE, "layer_norm_eps": 0.03, "num_channels": 4},
        (4, 24, 24),
        POOLED,
    ),
    hf(
        "siglip_tokens",
        "SiglipVisionModel",
        "siglip",
        {**SQUARE, "vision_use_head": False},
        (3, 24, 24),
        TOKENS,
    ),
    hf(
        "siglip_whole",
        "SiglipModel",
        "siglip",
        SQUARE,
        (3, 24, 24),
        "image_features",
        "SiglipConfig",
    ),
    hf(
        "siglip_classifier",
        "SiglipForImageClassification",
        "siglip-classifier",
        {**SQUARE, "num_labels": 3},
        (3, 24, 24),
        whole="SiglipConfig",
    ),
    hf(
        "videomae",
        "VideoMAEForVideoClassification",
        "videomae",
        {**VIDEO, **ODD, "patch_size": [8, 16], "tubelet_size": 4},
        (3, 8, 24, 32),
    ),
    hf(
        "videomae_tokens",
        "VideoMAEModel",
        "videomae-bare",
        {**VIDEO, "patch_size": [8, 16], "use_mean_pooling": False, "num_channels": 1},
        (1, 8, 24, 32),
        TOKENS,
    ),
    hf(
        "videomae_unbiased",
        "VideoMAEForVideoClassification",
        "videomae+unbiased",
        {**VIDEO, "patch_size": [8, 16], "qv_bias": False},
        (3, 8, 24, 32),
    ),
    hf(
        "vivit",
        "VivitForVideoClassification",
        "vivit",
        {**VIDEO, "tubelet_size": [4, 8, 16]},
        (3, 8, 24, 32),
        tolerance=1e-9,  # gelu_fast has the root of 2 / pi to ten digits
    ),
]

# ---- timm and torchvision -----------------------------------------------------------

TIMM_SIZE = {
    "img_size": [48, 32],
    "patch_size": [8, 16],
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 1.5,
    "num_classes": 3,
}


def timm(arguments: dict[str, Any]) -> nn.Module:
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    given = dict(arguments)
    distilled = given.pop("class", "") == "VisionTransformerDistilled"
    cls = VisionTransformerDistilled if distilled else VisionTransformer
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


def timm_case(name: str, dialect: str = "timm", **changes: Any) -> Case:
    arguments = {**TIMM_SIZE, **changes}
    return Case(
        f"timm_{name}",
        "timm",
        partial(timm, arguments),
        lambda model, x: model(x),
        (arguments.get("in_chans", 3), 48, 32),
        dialect,
        {"config": arguments, "from_dialect": "timm"},
    )


TIMM = [
    timm_case("vit", act_layer="gelu_tanh", in_chans=4),
    timm_case("no_bias", qkv_bias=False, in_chans=1),
    timm_case("distilled", **{"class": "VisionTransformerDistilled"}),
    timm_case("deit3", no_embed_class=True, init_values=1e-5),
    timm_case(
        "registers", reg_tokens=2, no_embed_class=True, init_values=1e-5, in_chans=1
    ),
    timm_case("mean", global_pool="avg", act_layer="quick_gelu"),
    timm_case("clip", pre_norm=True, num_classes=0),
    timm_case("siglip", class_token=False, global_pool="map", num_classes=0),
    timm_case("tokens", global_pool="", num_classes=0, qk_norm=True),
]


def torchvision(**arguments: Any) -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(**arguments)


VIT = {
    "image_size": 24,
    "patch_size": 8,
    "num_layers": 2,
    "num_heads": 3,
    "hidden_dim": 24,
    "mlp_dim": 36,
    "num_classes": 3,
}
TORCHVISION = [
    Case(
        f"torchvision_{name}",
        "torchvision",
        partial(torchvision, **VIT, **more),
        lambda model, x: model(x),
        (3, 24, 24),
        "torchvision@0.13",
        {"config": {**VIT, **more}, "from_dialect": "torchvision"},
    )
    for name, more in (("vit", {}), ("representation", {"representation_size": 20}))
]

# ---- MONAI --------------------------------------------------------------------------

MONAI_SIZE = {
    "in_channels": 2,
    "img_size": [16, 12, 20],
    "patch_size": [4, 6, 5],
    "hidden_size": 24,
    "mlp_dim": 36,
    "num_layers": 2,
    "num_heads": 3,
}


def monai(folder: Path | None, arguments: dict[str, Any], head: bool) -> nn.Module:
    if folder is None:
        from monai.networks.nets import ViT
    else:
        ViT = imported(folder, "monai.networks.nets.vit").ViT
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    model = ViT(**given)
    if not head:  # as M3D-CLIP has it: a class token, and all tokens given
        del model.classification_head
        model.classification = False
        token = model.cls_token

        def forward(x: Tensor) -> tuple[Tensor, list[Tensor]]:
            x = torch.cat([token.expand(len(x), -1, -1), model.patch_embedding(x)], 1)
            for block in model.blocks:
                x = block(x)
            return model.norm(x), []

        model.cls_token = token
        model.forward = forward
    return model


def monai_case(
    name: str,
    dialect: str,
    release: str,
    sources: Path,
    arguments: dict[str, Any],
    **more: Any,
) -> Case:
    ask = more.pop("ask", {"config": arguments, "from_dialect": "monai"})
    size = (arguments["in_channels"], *arguments["img_size"])
    head = more.pop("head", True)
    return Case(
        f"monai_{name}",
        "monai" if release == "1.6.1" else f"monai {release}",
        partial(
            monai,
            None if release == "1.6.1" else sources / f"monai-{release}",
            arguments,
            head,
        ),
        lambda model, x: model(x)[0],
        size,
        f"monai@{dialect}",
        ask,
        **more,
    )


def _plane(arguments: dict[str, Any]) -> dict[str, Any]:
    sizes = {name: arguments[name][:2] for name in ("img_size", "patch_size")}
    return {**arguments, **sizes, "spatial_dims": 2}


def _monai(sources: Path) -> list[Case]:
    head = {**MONAI_SIZE, "classification": True, "num_classes": 3}
    conv, rows = {"pos_embed": "conv"}, {"pos_embed": "perceptron"}
    slab = {
        "in_channels": 1,
        "img_size": [32, 256, 256],
        "patch_size": [4, 16, 16],
        "hidden_size": 24,
        "mlp_dim": 36,
        "num_layers": 1,
        "num_heads": 2,
    }
    narrow = {"embed_dim": 24, "depth": 1, "num_heads": 2, "mlp_dim": 36}
    cube = {**slab, "img_size": [96] * 3, "patch_size": [16] * 3}
    some: dict[str, Any] = {"every": 64, "batch": 1}
    make = partial(monai_case, sources=sources)
    return [
        make(
            "0.6_features",
            "0.7",
            "0.6.0",
            arguments={**MONAI_SIZE, **conv, "classification": False},
        ),
        make("0.8_tanh", "0.7", "0.8.1", arguments={**head, **conv}),
        make(
            "0.8_plane", "0.7+perceptron", "0.8.1", arguments=_plane({**head, **rows})
        ),
        make(
            "0.9_bare",
            "1.0",
            "0.9.1",
            arguments={**head, **conv, "post_activation": ""},
        ),
        make(
            "1.3_bias",
            "1.0+perceptron",
            "1.3.2",
            arguments={**head, "proj_type": "perceptron", "qkv_bias": True},
        ),
        make(
            "1.5_features",
            "1.4",
            "1.5.2",
            arguments={**MONAI_SIZE, "qkv_bias": True, "pos_embed_type": "sincos"},
        ),
        make("1.6_tanh", "1.6", "1.6.1", arguments=head),
        make(
            "1.6_plane",
            "1.6+perceptron",
            "1.6.1",
            arguments=_plane({**head, "proj_type": "perceptron", "in_channels": 4}),
        ),
        make(
            "m3d_clip",
            "1.0+perceptron",
            "1.3.2",
            arguments={**slab, "proj_type": "perceptron", "classification": True},
            head=False,
            ask={"preset": "m3d-clip", "changes": narrow},
            prefix="vision_encoder.",
            beside={
                "language_encoder.embeddings.word_embeddings.weight": (30, 24),
                "mm_vision_proj.weight": (24, 24),
                "mm_vision_proj.bias": (24,),
                "mm_language_proj.weight": (24, 24),
                "mm_language_proj.bias": (24,),
                "logit_scale": (),
            },
            **some,
        ),
        make(
            "segvol",
            "1.0+perceptron",
            "0.9.1",
            arguments={**slab, **rows},
            ask={"preset": "segvol", "changes": narrow},
            prefix="model.encoder.",
            **some,
        ),
        make(
            "segvol_whole",
            "1.0+perceptron",
            "0.9.1",
            arguments={**slab, **rows},
            ask={"preset": "segvol", "changes": narrow},
            prefix="model.image_encoder.",
            beside={
                "model.mask_decoder.iou_token.weight": (1, 24),
                "model.prompt_encoder.no_mask_embed.weight": (1, 24),
                "model.text_encoder.dim_align.weight": (24, 16),
            },
            **some,
        ),
        make(
            "brainiac",
            "1.0",
            "1.3.2",
            arguments={**cube, "proj_type": "conv"},
            ask={"preset": "brainiac", "changes": narrow},
            prefix="backbone.backbone.",
            **some,
        ),
    ]


# ---- vit-pytorch --------------------------------------------------------------------

LUCID = {"num_classes": 3, "dim": 24, "depth": 2, "heads": 3, "mlp_dim": 36}
LUCID_PLANE = {**LUCID, "dim_head": 10, "image_size": [48, 32], "patch_size": [8, 16]}
LUCID_VOLUME = {
    **LUCID,
    "dim_head": 10,
    "image_size": [24, 32],
    "image_patch_size": [8, 16],
    "frames": 8,
    "frame_patch_size": 4,
    "channels": 2,
}


def lucid(folder: Path | None, name: str, arguments: dict[str, Any]) -> nn.Module:
    from importlib import import_module

    module, cls = name.split(".")
    path = f"vit_pytorch.{module}"
    found = import_module(path) if folder is None else imported(folder, path)
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    return getattr(found, cls)(**given)


def lucid_case(sources: Path, name: str, dialect: str, release: str, cls: str) -> Case:
    arguments = dict(LUCID_VOLUME if "3d" in cls else LUCID_PLANE)
    if name.endswith("mean"):
        arguments["pool"] = "mean"
    today = release == "1.26.11"
    simple = "imple" in cls
    wanted = f"lucidrains@{dialect}"
    # Only the one who has the file knows in which order a patch of a volume is.
    told = "3d" in cls and not ("-0" in dialect or "-1.0" in dialect)
    return Case(
        f"lucidrains_{name}",
        "vit-pytorch" if today else f"vit-pytorch {release}",
        partial(lucid, None if today else sources / f"vitp-{release}", cls, arguments),
        lambda model, x: model(x),
        (arguments.get("channels", 3), *((8, 24, 32) if "3d" in cls else (48, 32))),
        wanted,
        {
            "config": {**arguments, "class": cls, "version": release},
            "from_dialect": wanted if told else "lucidrains",
        },
        tolerance=1e-6 if simple else 1e-11,
    )


def _lucid(sources: Path) -> list[Case]:
    make = partial(lucid_case, sources)
    now = "1.26.11"
    return [
        make("vit", "vit", now, "vit.ViT"),
        make("vit_mean", "vit", now, "vit.ViT"),
        make("vit_3d", "vit_3d", now, "vit_3d.ViT"),
        make("vit_3d_mean", "vit_3d", now, "vit_3d.ViT"),
        make("simple_vit", "simple_vit", now, "simple_vit.SimpleViT"),
        make("simple_vit_3d", "simple_vit_3d", now, "simple_vit_3d.SimpleViT"),
        make("1.15_vit_mean", "vit-1.4", "1.15.0", "vit.ViT"),
        make("1.15_vit_3d_mean", "vit_3d-1.5", "1.15.0", "vit_3d.ViT"),
        make(
            "1.15_simple_vit_3d",
            "simple_vit_3d-1.4",
            "1.15.0",
            "simple_vit_3d.SimpleViT",
        ),
        make("1.2_vit_mean", "vit-1.0", "1.2.0", "vit.ViT"),
        make("1.2_vit_3d", "vit-1.0", "1.2.0", "vit_3d.ViT"),
        make("1.2_simple_vit", "simple_vit-1.0", "1.2.0", "simple_vit.SimpleViT"),
        make("1.2_simple_vit_3d", "simple_vit-1.0", "1.2.0", "simple_vit_3d.SimpleViT"),
        make("0.40_vit", "vit-0", "0.40.2", "vit.ViT"),
        make("0.40_vit_3d_mean", "vit-0", "0.40.2", "vit_3d.ViT"),
        make("0.40_simple_vit", "simple_vit-0", "0.40.2", "simple_vit.SimpleViT"),
        make("0.40_simple_vit_3d", "simple_vit-0", "0.40.2", "simple_vit_3d.SimpleViT"),
    ]


# ---- open_clip ----------------------------------------------------------------------


def open_clip(folder: Path, vision: dict[str, Any], quick: bool) -> nn.Module:
    cls = imported(folder, "open_clip.model")
    text = {"context_length": 8, "vocab_size": 30, "width": 16, "heads": 2, "layers": 1}
    whole: Callable[..., nn.Module] = (
        cls.CLIP if "width" in vision else cls.CustomTextCLIP
    )
    return whole(embed_dim=5, vision_cfg=vision, text_cfg=text, quick_gelu=quick)


def _open_clip(sources: Path) -> list[Case]:
    tower = {"layers": 2, "width": 24, "head_width": 8, "mlp_ratio": 1.5}
    tower |= {"patch_size": 8, "image_size": 24}
    trunk = {"timm_model_name": "test_vit", "image_size": 160, "timm_proj": "linear"}
    trunk |= {"timm_pool": "token"}
    facts = {"img_size": 24, "num_heads": 3}

    def case(
        name: str, dialect: str, vision: dict[str, Any], ask: Any, side: int
    ) -> Case:
        return Case(
            f"open_clip_{name}",
            "open_clip_torch 3.3.0",
            partial(open_clip, sources / "oclip", vision, name == "quick"),
            lambda model, x: model.encode_image(x),
            (3, side, side),
            dialect,
            {"changes": ask},
        )

    def by_config(
        name: str, dialect: str, vision: dict[str, Any], side: int, **ask: Any
    ) -> Case:
        model = {"embed_dim": 5, "vision_cfg": vision, "text_cfg": {}}
        found = case(name, dialect, vision, {}, side)
        return replace(found, ask={"config": {"model_cfg": model}, **ask})

    plain = {**facts, "act_layer": "gelu"}
    clipa = {"no_ln_pre": True, "final_ln_after_pool": True, "pool_type": "avg"}
    mean = {"timm_pool": "avg", "timm_proj_bias": True}
    return [
        case("clip", "openai_clip", tower, plain, 24),
        case("quick", "openai_clip", tower, {**facts, "act_layer": "quick_gelu"}, 24),
        case(
            "trunk",
            "openai_clip@timm",
            trunk,
            {
                "img_size": 160,
                "num_heads": 2,
                "norm_eps": 1e-6,
                "act_layer": "gelu",
                "global_pool": "token",
            },
            160,
        ),
        by_config("scaled", "openai_clip", {**tower, "ls_init_value": 1e-4}, 24),
        by_config(
            "clipa",
            "openai_clip@clipa",
            {**tower, **clipa},
            24,
            from_dialect="openai_clip@clipa",
        ),
        by_config("trunk_mean", "openai_clip@timm", {**trunk, **mean}, 160),
        by_config(
            "trunk_head", "openai_clip@timm+head", {**trunk, "timm_proj": None}, 160
        ),
    ]


def cases(sources: Path) -> list[Case]:
    """All of them; older releases lie in `sources`."""
    return [
        *HF,
        *TIMM,
        *TORCHVISION,
        *_monai(sources),
        *_lucid(sources),
        *_open_clip(sources),
    ]
