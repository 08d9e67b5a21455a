"""torchvision's own `VisionTransformer`, live: equal outputs, and mutants refused."""

from __future__ import annotations

from functools import partial

import pytest

from tests.live.common import check_outputs, inputs, refused

pytestmark = pytest.mark.peers
nn = pytest.importorskip("torch").nn
torchvision = pytest.importorskip("torchvision", exc_type=ImportError)


def vit(**more):
    given = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 3}
    given |= {"hidden_dim": 24, "mlp_dim": 40, "num_classes": 5}
    return torchvision.models.VisionTransformer(**{**given, **more})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"representation_size": 7},
        {"norm_layer": partial(nn.LayerNorm, eps=1e-3), "dropout": 0.1},
    ],
)
def test_outputs(more):
    twin = check_outputs(vit(attention_dropout=0.2, **more), inputs(2, 3, 32, 32))
    found = twin.config
    assert found.norm_eps == (1e-3 if "norm_layer" in more else 1e-6)
    assert (found.proj_drop_rate, found.attn_drop_rate) == (more.get("dropout", 0), 0.2)


def _eps(model):
    model.encoder.layers[1].ln_2.eps = 1e-3


def _act(model):
    model.encoder.layers[1].mlp[1] = nn.GELU("tanh")


def _attention(model):
    model.encoder.layers[0].self_attention.add_zero_attn = True


def _head(model):
    model.heads = nn.Sequential(nn.Linear(24, 7), nn.Linear(7, 5))


def _tanh(model):
    model.heads.act = nn.ReLU()


@pytest.mark.parametrize(
    "mutant, names",
    [
        (_eps, ["encoder.layers.encoder_layer_1.ln_2"]),
        (_act, ["encoder.layers.encoder_layer_1.mlp.1"]),
        (_attention, ["encoder.layers.encoder_layer_0.self_attention.add_zero_attn"]),
        (_head, ["heads", "heads.0", "heads.1", "heads.head"]),
        (_tanh, ["heads.act"]),
    ],
)
def test_mutants(mutant, names):
    model = vit(representation_size=7 if mutant is _tanh else None)
    mutant(model)
    refused(model, *names)
