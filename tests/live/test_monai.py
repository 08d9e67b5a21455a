"""MONAI's own ViT, live: equal outputs, and mutants refused."""

from __future__ import annotations

import pytest

import converters
from tests.live.common import check_outputs, inputs, randomised, read, refused, twin_of

pytestmark = pytest.mark.peers
nn = pytest.importorskip("torch").nn
nets = pytest.importorskip("monai.networks.nets")

SIZE = {3: (16, 12, 8), 2: (16, 12)}
PATCH = {3: (8, 6, 4), 2: (8, 6)}


def monai(dims: int = 3, **more):
    given = {"in_channels": 2, "img_size": SIZE[dims], "patch_size": PATCH[dims]}
    given |= {"hidden_size": 24, "mlp_dim": 40, "num_layers": 3, "num_heads": 3}
    return nets.ViT(**given, spatial_dims=dims, **more)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"classification": True},
        {"classification": True, "post_activation": "x", "proj_type": "perceptron"},
        {"pos_embed_type": "sincos", "qkv_bias": True, "save_attn": True},
    ],
)
@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_outputs(dims, more):
    twin = check_outputs(
        monai(dims, **more),
        inputs(2, 2, *SIZE[dims]),
        given=lambda y: y[0],
        img_size=SIZE[dims],
    )
    assert twin.config.norm_eps == 1e-5 and twin.config.patch_size == PATCH[dims]
    assert twin.config.source.dialect.startswith("monai@")


def test_rates_are_carried():
    found = read(monai(dropout_rate=0.2), img_size=SIZE[3]).config
    assert (found.pos_drop_rate, found.proj_drop_rate, found.attn_drop_rate) == (
        *(0.2, 0.2),
        0.2,
    )


def test_the_image_size_is_in_no_module(tmp_path):
    with pytest.raises(converters.ConversionError, match="img_size is not in this"):
        read(monai())
    model = randomised(monai())
    report = converters.convert(
        model, tmp_path / "x.keras", changes={"img_size": SIZE[3]}
    )
    assert (
        report.ok and report.source.name == "ViT" and report.source_format == "module"
    )
    assert len(report.dropped) == 6  # norms of the cross-attention that is not there


def test_what_the_modules_say_is_not_by_hand():
    """Heads and epsilon are the model's own word; the image size is in no module."""
    changes = {"img_size": SIZE[3], "num_heads": 3, "norm_eps": 1e-5}
    found = read(monai(), **changes).config.source.stated
    assert [one.field for one in found] == ["img_size"]


def test_uniform_changes_are_carried():
    model = monai(classification=True)
    for block in model.blocks:
        block.mlp.fn = nn.GELU("tanh")
        block.norm1.eps = block.norm2.eps = 1e-2
    model.norm.eps = 1e-2
    twin = check_outputs(
        model, inputs(2, 2, *SIZE[3]), given=lambda y: y[0], img_size=SIZE[3]
    )
    assert (twin.config.norm_eps, twin.config.act_layer) == (1e-2, "gelu_tanh")


def _eps(model):
    model.blocks[1].norm2.eps = 1e-3


def _act(model):
    model.blocks[2].mlp.fn = nn.GELU("tanh")


def _other_act(model):
    model.blocks[0].mlp.fn = nn.Tanh()


def _scale(model):
    model.blocks[1].attn.scale = 1.0


def _causal(model):
    model.blocks[1].attn.causal = True


def _heads(model):
    model.blocks[1].attn.num_heads = 2


def _half(model):
    import torch

    model.blocks[0].attn.attention_dtype = torch.float16


def _drop(model):
    model.blocks[2].attn.drop_weights.p = 0.5


def _qkv(model):
    class LoraLinear(nn.Linear):
        pass

    model.blocks[0].attn.qkv = LoraLinear(24, 72, bias=False)


def _head(model):
    model.classification_head = nn.Sequential(nn.Linear(24, 2), nn.Sigmoid())


def _joined(model):
    model.blocks[0].attn.out_rearrange.pattern = "b l h d -> b h (d l)"


@pytest.mark.parametrize(
    "mutant, names",
    [
        (_eps, ["blocks.1.norm2"]),
        (_act, ["blocks.2.mlp.fn"]),
        (_other_act, ["blocks.0.mlp.fn"]),
        (_scale, ["blocks.1.attn.scale"]),
        (_causal, ["blocks.1.attn.causal"]),
        (
            _heads,
            ["blocks.1.attn", "blocks.1.attn.input_rearrange"],
        ),
        (_half, ["blocks.0.attn.attention_dtype"]),
        (_drop, ["blocks.2.attn.drop_weights"]),
        (_qkv, ["blocks.0.attn.qkv"]),
        (_head, ["classification_head.1"]),
        (_joined, ["blocks.0.attn.out_rearrange.pattern"]),
    ],
)
def test_mutants(mutant, names):
    model = monai(classification=True)
    mutant(model)
    refused(model, *names, img_size=SIZE[3])


def test_what_the_modules_say_cannot_be_said_otherwise():
    refused(monai(), "norm_eps", "num_heads", img_size=16, norm_eps=1e-6, num_heads=4)


def test_networks_around_it_name_the_vit():
    unetr = nets.UNETR(2, 2, (16, 16, 16), hidden_size=24, mlp_dim=40, num_heads=3)
    assert 'Its "vit" is one' in refused(unetr, "")
    twin = twin_of(unetr.vit, img_size=16)
    assert twin.config.depth == 12


def test_a_subclass_may_compute_something_else():
    class Mine(nets.ViT):
        def forward(self, x):
            return super().forward(x * 2)

    class Named(nets.ViT):
        """Nothing else."""

    given = {"in_channels": 1, "img_size": 8, "patch_size": 4, "hidden_size": 12}
    given |= {"mlp_dim": 8, "num_layers": 1, "num_heads": 2}
    assert read(Named(**given), img_size=8).config.embed_dim == 12
    refused(Mine(**given), "forward", img_size=8)
