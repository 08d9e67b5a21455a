"""timm's own `VisionTransformer`, live: equal outputs, and mutants refused."""

from __future__ import annotations

from functools import partial

import pytest

import converters
from tests.live.common import check_outputs, inputs, randomised, read, refused

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm", exc_type=ImportError)
nn = torch.nn

BASE = {
    "img_size": (32, 24),
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "num_classes": 5,
}
SMALL = {"img_size": (32, 24), "patch_size": 8, "embed_dim": 24, "depth": 2}
EPS5 = partial(nn.LayerNorm, eps=1e-5)


def plain(**more):
    return timm.models.vision_transformer.VisionTransformer(**{**BASE, **more})


def distilled(**more):
    return timm.models.deit.VisionTransformerDistilled(**{**BASE, **more})


VARIANTS = {
    "plain": {},
    "clip": {"pre_norm": True, "act_layer": "quick_gelu", "norm_layer": EPS5},
    "avg": {"global_pool": "avg"},
    "avg_prefix": {"global_pool": "avg", "fc_norm": False, "pool_include_prefix": True},
    "max": {"global_pool": "max", "class_token": False},
    "map": {"global_pool": "map", "class_token": False, "act_layer": "gelu_tanh"},
    "registers": {"reg_tokens": 3, "no_embed_class": True, "init_values": 0.1},
    "qk_norm": {"qk_norm": True, "qkv_bias": False, "proj_bias": False},
    "tokens": {"num_classes": 0, "global_pool": ""},
    "pooled": {"num_classes": 0},
    "no_pos": {"pos_embed": "none"},
    "post_norm": {"embed_norm_layer": partial(nn.LayerNorm, eps=1e-6)},
    "dynamic": {"dynamic_img_size": True},
    "no_final": {"final_norm": False},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_outputs(name):
    twin = check_outputs(plain(**VARIANTS[name]), inputs(2, 3, 32, 24))
    assert twin.config.norm_eps == (1e-5 if name == "clip" else 1e-6)


@pytest.mark.parametrize("channels", [1, 2])
def test_statistics_of_other_channels_are_left_out(channels):
    name = "vit_tiny_patch16_224"
    model = timm.create_model(name, in_chans=channels, **SMALL)
    twin = check_outputs(model, inputs(2, channels, 32, 24))
    data = twin.config.data
    assert (data.mean, data.std) == (None, None) and data.crop_pct
    data = check_outputs(timm.create_model(name, **SMALL), inputs(2, 3, 32, 24))
    assert data.config.data.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("kind", ["SwiGLU", "SwiGLUPacked"])
def test_gated(kind):
    mlp = getattr(timm.layers, kind)
    check_outputs(plain(mlp_layer=mlp, act_layer=nn.SiLU), inputs(2, 3, 32, 24))


def test_distilled():
    assert check_outputs(distilled(), inputs(2, 3, 32, 24)).config.distilled


def test_rates_are_carried():
    found = read(
        plain(
            drop_rate=0.1,
            pos_drop_rate=0.2,
            proj_drop_rate=0.3,
            attn_drop_rate=0.4,
            drop_path_rate=0.5,
        )
    ).config
    assert found.drop_rate == 0.1 and found.pos_drop_rate == 0.2
    assert found.proj_drop_rate == 0.3 and found.attn_drop_rate == 0.4
    assert found.drop_path_rate == 0.5


def test_models_of_the_registry(tmp_path):
    model = randomised(timm.create_model("vit_tiny_patch16_224", depth=2))
    report = converters.convert(model, tmp_path / "x.keras")
    assert report.ok and report.config.data.crop_pct == 0.9
    assert report.config.data.mean == (0.5, 0.5, 0.5)
    name = "vit_base_patch16_clip_quickgelu_224"
    assert read(timm.create_model(name, depth=1)).config.act_layer == "quick_gelu"
    name = "vit_base_patch16_siglip_512"
    found = read(timm.create_model(name, depth=1)).config
    assert (found.global_pool, found.num_heads, found.img_size) == (
        "map",
        12,
        (512,) * 2,
    )


def test_epsilon_after_the_pooling_is_its_own():
    model = plain(global_pool="avg")
    model.fc_norm.eps = 1e-2
    twin = check_outputs(model, inputs(2, 3, 32, 24))
    assert (twin.config.norm_eps, twin.config.fc_norm_eps) == (1e-6, 1e-2)


def test_another_head_is_carried():
    model = plain()
    model.reset_classifier(7)
    assert check_outputs(model, inputs(2, 3, 32, 24)).config.num_classes == 7
    model.reset_classifier(0, "")
    assert check_outputs(model, inputs(2, 3, 32, 24)).config.global_pool == "none"


def _eps(model):
    model.blocks[1].norm1.eps = 1e-5


def _act(model):
    model.blocks[1].mlp.act = nn.GELU("tanh")


def _scale(model):
    model.blocks[0].attn.scale = 0.1


def _qkv(model):
    class Lora(nn.Module):
        def __init__(self):
            super().__init__()
            self.base, self.a = nn.Linear(24, 72), nn.Linear(24, 2)

    model.blocks[0].attn.qkv = Lora()


def _gate(model):
    model.blocks[0].attn.gate = nn.Linear(24, 24)


def _heads(model):
    model.blocks[2].attn.num_heads = 2


def _drop(model):
    model.blocks[2].attn.attn_drop = nn.Dropout(0.5)


def _path(model):
    model.blocks[0].drop_path1 = timm.layers.DropPath(0.3)


def _patches(model):
    model.patch_drop = timm.layers.PatchDropout(0.3)


def _pool(model):
    model.global_pool = "avgmax"


def _prefix(model):
    model.num_prefix_tokens = 0


def _head(model):
    model.head = nn.Sequential(nn.Linear(24, 5))


def _norm(model):
    model.blocks[1].norm2 = nn.BatchNorm1d(24)


def _swap(model):
    model.blocks[1].mlp = timm.layers.GluMlp(24, 96)


def _pad(model):
    model.patch_embed.dynamic_img_pad = True


@pytest.mark.parametrize(
    "mutant, names",
    [
        (_eps, ["blocks.1.norm1"]),
        (_act, ["blocks.1.mlp.act"]),
        (_scale, ["blocks.0.attn.scale"]),
        (_qkv, ["blocks.0.attn.qkv"]),
        (_gate, ["blocks.0.attn.gate"]),
        (_heads, ["blocks.2.attn"]),
        (_drop, ["blocks.2.attn.attn_drop"]),
        (_path, ["blocks.0.drop_path1"]),
        (_patches, ["patch_drop.prob"]),
        (_pool, ["global_pool"]),
        (_prefix, ["num_prefix_tokens"]),
        (_head, ["head"]),
        (_norm, ["blocks.1.norm2"]),
        (_pad, ["patch_embed.dynamic_img_pad"]),
    ],
)
def test_mutants(mutant, names):
    model = plain()
    mutant(model)
    refused(model, *names)


def test_a_block_with_another_mlp():
    model = plain()
    _swap(model)
    text = refused(model, "blocks.1.mlp", "blocks.1.mlp.act", "blocks.1.mlp.gate_last")
    assert "as the others have" in text


def test_other_networks_of_timm():
    model = timm.create_model("swin_tiny_patch4_window7_224")
    assert "no model that is known here" in refused(model, "")
