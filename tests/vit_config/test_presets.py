"""The presets hold the published sizes, and build."""

from __future__ import annotations

from typing import Any

import pytest

from vit_config import ConfigError, ViTConfig
from vit_config.presets import preset_fields, preset_names

# Width, depth, heads, MLP width as big_vision's `decode_variant` has them, and the
# parameters of timm 1.0.31's model of that size without a head.
SIZES = {
    "vit-ti16-224": (192, 12, 3, 768, 5_524_416),
    "vit-s8-224": (384, 12, 6, 1536, 21_670_272),
    "vit-s14-224": (384, 12, 6, 1536, 21_619_584),
    "vit-s16-224": (384, 12, 6, 1536, 21_665_664),
    "vit-s32-224": (384, 12, 6, 1536, 22_493_952),
    "vit-m16-224": (512, 12, 8, 2048, 38_324_736),
    "vit-m32-224": (512, 12, 8, 2048, 39_429_120),
    "vit-b8-224": (768, 12, 12, 3072, 85_807_872),
    "vit-b14-224": (768, 12, 12, 3072, 85_706_496),
    "vit-b16-224": (768, 12, 12, 3072, 85_798_656),
    "vit-b32-224": (768, 12, 12, 3072, 87_455_232),
    "vit-l14-224": (1024, 24, 16, 4096, 303_178_752),
    "vit-l16-224": (1024, 24, 16, 4096, 303_301_632),
    "vit-l32-224": (1024, 24, 16, 4096, 305_510_400),
    "vit-h14-224": (1280, 32, 16, 5120, 630_764_800),
    "vit-h16-224": (1280, 32, 16, 5120, 630_918_400),
    "vit-g14-224": (1408, 40, 16, 6144, 1_011_202_432),
    "vit-g16-224": (1408, 40, 16, 6144, 1_011_371_392),
    "vit-G14-224": (1664, 48, 16, 8192, 1_842_775_680),
    "vit-so400m14-224": (1152, 27, 16, 4304, 412_444_656),
    "vit-so400m16-224": (1152, 27, 16, 4304, 412_582_896),
}
VOLUMES = ("monai-vit-b16-96", "brainiac", "m3d-clip", "segvol")

MONAI_BASE: dict[str, Any] = {"in_channels": 1, "spatial_dims": 3}
CUBE = {**MONAI_BASE, "img_size": (96, 96, 96), "patch_size": (16, 16, 16)}
SLAB = {
    **MONAI_BASE,
    "img_size": (32, 256, 256),
    "patch_size": (4, 16, 16),
    "proj_type": "perceptron",
}


def parameters(c: ViTConfig) -> int:
    """Parameters of a plain ViT without a head, by the formula."""
    d, m = c.embed_dim, c.mlp_dim
    patch = d * c.in_chans
    for size in c.patch_size:
        patch *= size
    norm = 2 * d
    attention = 3 * d * d + 3 * d * bool(c.qkv_bias) + d * d + d
    block = 2 * norm + attention + d * m + m + m * d + d
    stem = patch + d + d * c.class_token + c.num_pos_tokens * d
    return stem + c.depth * block + norm


def test_names() -> None:
    assert set(preset_names()) == {*SIZES, *VOLUMES}


@pytest.mark.parametrize("name", SIZES)
def test_size(name: str) -> None:
    width, depth, heads, mlp_dim, total = SIZES[name]
    model = ViTConfig.preset(name)
    patch = int(name.split("-")[1].lstrip("tismblhgGo").removeprefix("400m"))
    assert (model.embed_dim, model.depth, model.num_heads) == (width, depth, heads)
    assert model.mlp_dim == mlp_dim
    assert model.img_size == (224, 224)
    assert model.patch_size == (patch, patch)
    assert parameters(model) == total


@pytest.mark.parametrize("name", SIZES)
def test_size_leaves_the_rest_at_the_defaults(name: str) -> None:
    sized = {"img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_dim"}
    assert set(preset_fields(name)) == sized


@pytest.mark.parametrize("name", ["monai-vit-b16-96", "brainiac"])
def test_monai_features(name: str) -> None:
    model = ViTConfig.preset(name)
    assert model == ViTConfig.from_dialect("monai", CUBE)
    assert (model.norm_eps, model.qkv_bias, model.global_pool) == (1e-5, False, "none")
    assert (model.class_token, model.num_tokens) == (False, 216)
    assert parameters(model) == 88_340_736


def test_segvol() -> None:
    model = ViTConfig.preset("segvol")
    assert model == ViTConfig.from_dialect("monai", SLAB)
    assert (model.class_token, model.num_tokens, model.grid_size) == (
        False,
        2048,
        (8, 16, 16),
    )


def test_m3d_clip_keeps_its_class_token_without_a_head() -> None:
    model = ViTConfig.preset("m3d-clip")
    classifier = ViTConfig.from_dialect("monai", {**SLAB, "classification": True})
    headless = {"num_classes": 0, "head_act": None, "global_pool": "none"}
    assert model == classifier.replace(**headless)
    assert (model.class_token, model.num_tokens, model.num_pos_tokens) == (
        True,
        2049,
        2048,
    )


@pytest.mark.parametrize("name", preset_names())
def test_preset_takes_changes(name: str) -> None:
    model = ViTConfig.preset(name, depth=2)
    assert model.depth == 2
    assert model.embed_dim == preset_fields(name)["embed_dim"]
    with pytest.raises(ConfigError, match="num_heads: 7"):
        ViTConfig.preset(name, num_heads=7, embed_dim=64)


def test_fields_are_the_callers_own() -> None:
    preset_fields("segvol")["depth"] = 1
    assert ViTConfig.preset("segvol").depth == 12


def test_case_of_the_letter_counts() -> None:
    assert ViTConfig.preset("vit-g14-224").depth == 40
    assert ViTConfig.preset("vit-G14-224").depth == 48


@pytest.mark.parametrize(
    ("name", "near"),
    [("vit-b16", "'vit-b16-224'"), ("m3d_clip", "'m3d-clip'"), ("??", "'brainiac'")],
)
def test_unknown_name(name: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ViTConfig.preset(name)
    (line,) = caught.value.problems
    assert repr(name) in line
    assert near in line


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_timms(name: str) -> None:
    models = pytest.importorskip("timm.models.vision_transformer")
    width, depth, heads, mlp_dim, total = SIZES[name]
    patch = ViTConfig.preset(name).patch_size[0]
    model = models.VisionTransformer(
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=mlp_dim / width,
        num_classes=0,
        device="meta",
    )
    assert sum(p.numel() for p in model.parameters()) == total


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_parameters_are_monais() -> None:
    nets = pytest.importorskip("monai.networks.nets")
    model = nets.ViT(**CUBE)
    live = [p for n, p in model.named_parameters() if "norm_cross_attn" not in n]
    assert sum(p.numel() for p in live) == 88_340_736
