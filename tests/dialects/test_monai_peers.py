"""MONAI itself loads what is exported, strictly, and gives its outputs back."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file

from converters.conversion.convert import convert
from tests.dialects.common import MONAI
from tests.fill import fill_weights, image
from tools.make_goldens import MONAI_CASES, load

pytest.importorskip("torch")
pytest.importorskip("monai")

import torch

pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's own
        return case.build(case).eval()


def filled(case):
    model = build(case)
    weights = fill_weights(case.config)
    if case.table:
        table = model.patch_embedding.position_embeddings.detach().numpy().copy()
        weights["pos_embed"] = table
    load(model, case.weight_map(case.config), weights, case.table)
    return model, weights


@pytest.mark.parametrize("case", MONAI_CASES, ids=lambda case: case.name)
def test_file_of_monai_to_keras_and_back_into_monai(case, tmp_path):
    model, weights = filled(case)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "m.pt")
    arguments = dict(case.arguments)
    there = convert(
        tmp_path / "m.pt", tmp_path / "m.keras", config=arguments, from_dialect="monai"
    )
    assert there.proved == len(weights)
    assert there.config.architecture() == (
        case.config.replace(weight_init="monai").architecture()
    )
    convert(tmp_path / "m.keras", tmp_path / "c.safetensors")
    found = load_file(tmp_path / "c.safetensors")
    assert {n: v.tobytes() for n, v in found.items()} == {
        n: v.tobytes() for n, v in weights.items()
    }

    convert(tmp_path / "m.keras", tmp_path / "b.safetensors", to_dialect="monai")
    fresh = build(case)
    back = load_file(tmp_path / "b.safetensors")
    fresh.load_state_dict(
        {name: torch.from_numpy(v) for name, v in back.items()}, strict=True
    )
    x = torch.from_numpy(image((2, case.config.in_chans, *case.config.img_size), 1))
    with torch.no_grad():
        (mine, hidden), (theirs, their_hidden) = fresh(x), model(x)
    assert torch.equal(mine, theirs)
    assert all(map(torch.equal, hidden, their_hidden))


@pytest.mark.parametrize("dims", [2, 3])
def test_unetr_and_auto_encoder(dims, tmp_path):
    from monai.networks.nets import UNETR, ViTAutoEnc

    size = (32,) * dims
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unetr = UNETR(
            1, 2, size, 4, hidden_size=24, mlp_dim=36, num_heads=3, spatial_dims=dims
        )
        auto = ViTAutoEnc(
            1,
            size,
            (16,) * dims,
            hidden_size=24,
            mlp_dim=36,
            num_layers=2,
            num_heads=3,
            spatial_dims=dims,
        )
    fields = {"img_size": list(size), "patch_size": [16] * dims, "num_heads": 3}
    for model, prefix, word in ((unetr, "vit.", "UNETR"), (auto, "", "ViTAutoEnc")):
        state = model.state_dict()
        torch.save(state, tmp_path / "m.pt")
        out = tmp_path / "c.safetensors"
        report = convert(tmp_path / "m.pt", out, changes=fields, force=True)
        assert any(word in reason for reason in report.dropped.values())
        found = load_file(out)
        assert np.array_equal(
            found["blocks.1.attn.qkv.weight"],
            state[f"{prefix}blocks.1.attn.qkv.weight"].numpy(),
        )


def test_masked_autoencoder(tmp_path):
    from monai.networks.nets import MaskedAutoEncoderViT

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MaskedAutoEncoderViT(
            1,
            (32, 32),
            (8, 8),
            hidden_size=24,
            mlp_dim=36,
            num_layers=3,
            num_heads=3,
            spatial_dims=2,
            decoder_hidden_size=24,
            decoder_mlp_dim=36,
            decoder_num_layers=1,
            decoder_num_heads=3,
        )
    state = model.state_dict()
    torch.save(state, tmp_path / "m.pt")
    out = tmp_path / "c.safetensors"
    changes = {"num_heads": 3, "img_size": 32}
    report = convert(tmp_path / "m.pt", out, changes=changes)
    assert report.config.class_token and report.config.depth == 3
    found = load_file(out)
    assert np.array_equal(found["norm.weight"], state["blocks.3.weight"].numpy())


@pytest.mark.parametrize("case", MONAI)
def test_every_config_of_the_other_tests_is_one_of_monai(case, tmp_path):
    """What `tests.dialects.common` writes by hand is what MONAI has."""
    from monai.networks.nets import ViT

    from tests.dialects.common import dead, monai_names

    config = MONAI[case]
    if case == "headless_class":
        return  # M3D-CLIP's own
    for perceptron in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = ViT(
                in_channels=config.in_chans,
                img_size=config.img_size,
                patch_size=config.patch_size,
                hidden_size=config.embed_dim,
                mlp_dim=config.mlp_dim,
                num_layers=config.depth,
                num_heads=config.num_heads,
                proj_type="perceptron" if perceptron else "conv",
                classification=config.num_classes > 0,
                num_classes=config.num_classes or 2,
                post_activation="Tanh" if config.head_act else None,
                spatial_dims=config.spatial_dims,
                qkv_bias=bool(config.qkv_bias),
            )
        arrays = monai_names(config, fill_weights(config), perceptron)
        arrays |= dead(config, "1.6")
        shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
        assert {name: v.shape for name, v in arrays.items()} == shapes
