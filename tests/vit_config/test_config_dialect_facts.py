"""What four libraries' configurations mean, as read from the versions named here.

timm 1.0.31, torchvision 0.29.1, vit-pytorch 1.26.11, MONAI 1.6.1.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest

from vit_config import ConfigError, ViTConfig

TORCH_NORM = type("LayerNorm", (), {"__module__": "torch.nn.modules.normalization"})
TIMM_NORM = type("LayerNorm", (), {"__module__": "timm.layers.norm"})
OTHER_NORM = type("LayerNorm", (), {"__module__": "mine"})
GELU = type("GELU", (), {})
GLU_MLP = type("GluMlp", (), {})

MONAI = {"in_channels": 1, "img_size": 32, "patch_size": 8}
LUCID = {"num_classes": 3, "dim": 24, "depth": 2, "heads": 3, "mlp_dim": 36}
PLANE = {"image_size": [32, 48], "patch_size": [8, 16]}
VOLUME = {
    "image_size": [32, 48],
    "image_patch_size": [8, 16],
    "frames": 4,
    "frame_patch_size": 2,
}


def read(dialect: str, **fields: Any) -> ViTConfig:
    return ViTConfig.from_dialect(dialect, fields)


def refusal(dialect: str, **fields: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(dialect, **fields)
    return "\n".join(caught.value.problems)


def holds(model: ViTConfig, **expected: Any) -> None:
    assert {name: getattr(model, name) for name in expected} == expected


# ---- MONAI ------------------------------------------------------------------------


def test_monai_features() -> None:
    holds(
        read("monai", **MONAI),
        spatial_dims=3,
        img_size=(32, 32, 32),
        patch_size=(8, 8, 8),
        in_chans=1,
        embed_dim=768,
        depth=12,
        num_heads=12,
        mlp_dim=3072,
        class_token=False,
        pos_embed="learned",
        pos_embed_tokens="patch",
        norm_eps=1e-5,
        qkv_bias=False,
        proj_bias=True,
        mlp_bias=True,
        act_layer="gelu",
        final_norm=True,
        global_pool="none",
        num_classes=0,
        head_act=None,
        pos_resize=None,
        weight_init="monai",
    )


def test_monai_classifier() -> None:
    model = read("monai", **MONAI, classification=True)
    holds(model, class_token=True, global_pool="token", num_classes=2, head_act="tanh")
    assert model.num_pos_tokens == model.num_patches
    for other in ("tanh", None, "ReLU"):
        bare = read("monai", **MONAI, classification=True, post_activation=other)
        holds(bare, num_classes=2, head_act=None)


def test_monai_has_one_dropout_for_all() -> None:
    holds(
        read("monai", **MONAI, dropout_rate=0.1),
        pos_drop_rate=0.1,
        proj_drop_rate=0.1,
        attn_drop_rate=0.1,
        drop_rate=0.0,
    )


def test_monai_projection_by_either_name() -> None:
    plain = read("monai", **MONAI)
    assert read("monai", **MONAI, pos_embed="perceptron") == plain
    assert read("monai", **MONAI, proj_type="perceptron") == plain
    assert read("monai", **MONAI, pos_embed="conv", proj_type="conv") == plain
    line = refusal("monai", **MONAI, pos_embed="conv", proj_type="perceptron")
    assert "the two are one field" in line
    line = refusal("monai", **MONAI, pos_embed="learnable")
    assert "old name of proj_type, positions are pos_embed_type" in line


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("none", "learned"),  # a table that starts at zero, is added and trained
        ("learnable", "learned"),
        ("sincos", "sincos"),
        ("fourier", "sincos"),  # frozen and stored
    ],
)
def test_monai_positions(theirs: str, ours: str) -> None:
    holds(read("monai", **MONAI, pos_embed_type=theirs), pos_embed=ours)


def test_monai_mlp_dim_of_zero_is_the_width() -> None:
    holds(read("monai", **MONAI, mlp_dim=0, hidden_size=24), mlp_dim=24)


# ---- timm -------------------------------------------------------------------------


def test_timm_defaults() -> None:
    holds(
        read("timm"),
        img_size=(224, 224),
        patch_size=(16, 16),
        num_classes=1000,
        mlp_dim=3072,
        norm_eps=1e-6,
        global_pool="token",
        pos_embed_tokens="all",
        pos_resize="bicubic_aa",
        init_values=None,
        act_layer="gelu",
        final_norm=True,
        fc_norm=False,
        weight_init="timm",
    )


@pytest.mark.parametrize(
    ("fields", "final_norm", "fc_norm"),
    [
        ({}, True, False),
        ({"global_pool": "avg"}, False, True),
        ({"global_pool": "max"}, False, True),
        ({"global_pool": "map"}, True, False),
        ({"global_pool": "avg", "fc_norm": False}, True, False),
        ({"fc_norm": True}, False, True),
        ({"global_pool": "avg", "final_norm": False}, False, False),
    ],
)
def test_timm_places_the_norm(fields: Any, final_norm: bool, fc_norm: bool) -> None:
    holds(read("timm", **fields), final_norm=final_norm, fc_norm=fc_norm)


def test_timm_couplings() -> None:
    holds(read("timm", pre_norm=True), pre_norm=True, patch_bias=False)
    holds(read("timm", proj_bias=False), proj_bias=False, mlp_bias=False)
    holds(read("timm", init_values=0.0), init_values=None)
    holds(read("timm", pos_embed="none", pos_drop_rate=0.1), pos_drop_rate=0.0)
    holds(read("timm", pool_include_prefix=True), pool_include_prefix=False)
    holds(read("timm", global_pool="", num_classes=0), global_pool="none")
    holds(read("timm", embed_norm_layer="layernorm"), patch_norm="post")


@pytest.mark.parametrize(
    ("width", "ratio", "mlp_dim"),
    [(1408, 48 / 11, 6144), (1664, 64 / 13, 8192), (1152, 3.7362, 4304)],
)
def test_timm_mlp_ratio(width: int, ratio: float, mlp_dim: int) -> None:
    model = read("timm", embed_dim=width, num_heads=16, mlp_ratio=ratio)
    holds(model, mlp_dim=mlp_dim)


@pytest.mark.parametrize(
    ("layer", "mlp_dim"),
    [
        ("SwiGLUPacked", 4096),
        (functools.partial(GLU_MLP, act_layer=GELU, gate_last=False), 4096),
        ("SwiGLU", 8192),
    ],
)
def test_timm_swiglu(layer: Any, mlp_dim: int) -> None:
    """DINOv2 g: half of the packed width is the gate."""
    model = read(
        "timm", embed_dim=1536, mlp_ratio=2.66667 * 2, mlp_layer=layer, act_layer="silu"
    )
    holds(model, mlp_layer="swiglu", mlp_dim=mlp_dim, act_layer="silu")


def test_timm_swiglu_needs_its_activation() -> None:
    assert "act_layer: 'gelu'" in refusal("timm", mlp_layer="SwiGLUPacked")
    assert "mlp_layer: found" in refusal("timm", mlp_layer=GLU_MLP, act_layer="silu")
    line = refusal("timm", embed_dim=12, mlp_ratio=1.75, mlp_layer="SwiGLUPacked")
    assert "mlp_ratio: 1.75 gives 21 hidden units" in line


@pytest.mark.parametrize(
    ("layer", "act"),
    [
        (None, "gelu"),
        (GELU, "gelu"),
        (functools.partial(GELU, approximate="tanh"), "gelu_tanh"),
        ("gelu_tanh", "gelu_tanh"),
        (type("GELUTanh", (), {}), "gelu_tanh"),
        ("quick_gelu", "quick_gelu"),
        (type("QuickGELU", (), {}), "quick_gelu"),
        ("swish", "silu"),
        (type("SiLU", (), {}), "silu"),
        ("relu", "relu"),
    ],
)
def test_timm_activation(layer: Any, act: str) -> None:
    holds(read("timm", act_layer=layer), act_layer=act)


@pytest.mark.parametrize("layer", ["mish", functools.partial(GELU, inplace=True), 3])
def test_timm_activation_refused(layer: Any) -> None:
    assert refusal("timm", act_layer=layer).startswith("act_layer: found")


@pytest.mark.parametrize(
    ("layer", "eps"),
    [
        (None, 1e-6),
        ("layernorm", 1e-6),
        ("LayerNorm", 1e-6),
        (TIMM_NORM, 1e-6),
        (TORCH_NORM, 1e-5),
        (functools.partial(TIMM_NORM, eps=1e-5), 1e-5),
        (functools.partial(OTHER_NORM, eps=1e-4), None),
        (functools.partial(TIMM_NORM, affine=False), None),
        (OTHER_NORM, None),
        ("rmsnorm", None),
        (1e-5, None),
    ],
)
def test_timm_norm(layer: Any, eps: float | None) -> None:
    if eps is None:
        assert refusal("timm", norm_layer=layer).startswith("norm_layer: found")
    else:
        holds(read("timm", norm_layer=layer), norm_eps=eps)


def test_timm_patch_norm_of_another_epsilon_is_refused() -> None:
    line = refusal("timm", embed_norm_layer=TORCH_NORM)
    assert "embed_norm_layer: epsilon 1e-05, but norm_layer has 1e-06" in line


def test_timm_distilled() -> None:
    kind = {"class": "VisionTransformerDistilled"}
    holds(read("timm", **kind), dist_token=True, distilled=True, num_classes=1000)
    wrong = {
        "global_pool": "avg",
        "class_token": False,
        "reg_tokens": 2,
        "no_embed_class": True,
        "pos_embed": "none",
        "fc_norm": True,
    }
    lines = refusal("timm", **kind, **wrong).splitlines()
    assert [line.partition(":")[0] for line in lines] == list(wrong)


# ---- torchvision ------------------------------------------------------------------


def test_torchvision() -> None:
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 3}
    widths = {"hidden_dim": 24, "mlp_dim": 36}
    holds(
        read("torchvision", **sizes, **widths, dropout=0.1, attention_dropout=0.2),
        num_classes=1000,
        norm_eps=1e-6,
        qkv_bias=True,
        global_pool="token",
        pos_embed_tokens="all",
        pos_resize="bicubic_align",
        drop_rate=0.0,
        pos_drop_rate=0.1,
        proj_drop_rate=0.1,
        attn_drop_rate=0.2,
    )


# ---- lucidrains -------------------------------------------------------------------


def test_lucidrains_vit() -> None:
    kind = {"class": "vit.ViT", **PLANE, **LUCID}
    common: dict[str, Any] = {
        "img_size": (32, 48),
        "head_dim": 64,
        "patch_norm": "dual",
        "norm_eps": 1e-5,
        "qkv_bias": False,
        "proj_bias": True,
        "final_norm": True,
    }
    holds(read("lucidrains", **kind), **common, class_token=True, global_pool="token")
    mean = read("lucidrains", **kind, pool="mean")
    holds(mean, **common, class_token=False, global_pool="avg")
    tokens = read("lucidrains", **{**kind, "num_classes": 0})
    holds(tokens, **common, class_token=True, global_pool="none", num_classes=0)


def test_lucidrains_vit_3d() -> None:
    kind = {"class": "vit_3d.ViT", **VOLUME, **LUCID}
    common: dict[str, Any] = {
        "img_size": (4, 32, 48),
        "patch_size": (2, 8, 16),
        "class_token": True,
        "final_norm": False,
        "fc_norm": True,
    }
    holds(read("lucidrains", **kind), **common, global_pool="token")
    mean = read("lucidrains", **kind, pool="mean")
    holds(mean, **common, global_pool="avg", pool_include_prefix=True)
    line = refusal("lucidrains", **{**kind, "num_classes": 0})
    assert line.startswith("num_classes: found 0")


@pytest.mark.parametrize(
    ("name", "size"), [("simple_vit", PLANE), ("simple_vit_3d", VOLUME)]
)
def test_lucidrains_simple_vit(name: str, size: dict[str, Any]) -> None:
    holds(
        read("lucidrains", **{"class": f"{name}.SimpleViT"}, **size, **LUCID),
        class_token=False,
        pos_embed="sincos",
        proj_bias=False,
        mlp_bias=True,
        final_norm=True,
        fc_norm=False,
        global_pool="avg",
    )


def test_lucidrains_head_without_projection_is_refused() -> None:
    one = {**LUCID, "heads": 1, "dim_head": 24}
    line = refusal("lucidrains", **{"class": "vit.ViT"}, **PLANE, **one)
    assert line.startswith("heads: 1 with dim_head equal to dim")
    simple = read("lucidrains", **{"class": "simple_vit.SimpleViT"}, **PLANE, **one)
    holds(simple, num_heads=1, head_dim=24)


def test_lucidrains_class_is_required() -> None:
    assert refusal("lucidrains", **PLANE, **LUCID).startswith("class: found None")
