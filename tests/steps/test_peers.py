"""The libraries themselves: resized, folded, and loaded with `strict=True`."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from converters import convert
from tests.fill import fill, image

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def filled(model):
    """Every weight random, by its own name."""
    state = {
        n: torch.from_numpy(fill(n, t.shape)) for n, t in model.state_dict().items()
    }
    model.load_state_dict(state, strict=True)
    return model.eval()


def timm_vit(**options):
    vision_transformer = pytest.importorskip("timm.models.vision_transformer")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2}
    fields = {**sizes, "num_heads": 3, "num_classes": 5, **options}
    return vision_transformer.VisionTransformer(**fields)


SETS = {"num_heads": 3, "img_size": 32, "norm_eps": 1e-6, "act_layer": "gelu"}


# No size here has as many patches as before: timm, which has no pretrained_cfg to read
# the old grid from, would take the table as it is (4x4 for 2x8).
@pytest.mark.parametrize(
    ("old", "new", "options"),
    [
        ({}, {"img_size": (48, 40)}, {"image_size": (48, 40)}),
        ({"reg_tokens": 2}, {"img_size": (16, 40)}, {"image_size": (16, 40)}),
        (
            {"reg_tokens": 2, "no_embed_class": True},
            {"img_size": (16, 40)},
            {"image_size": (16, 40)},
        ),
        ({}, {"patch_size": 16}, {"patch_size": 16}),
        (
            {},
            {"patch_size": 4, "img_size": 24},
            {"patch_size": 4, "image_size": 24},
        ),
    ],
)
def test_timm_resizes_its_own_file_likewise(old, new, options, tmp_path):
    source = filled(timm_vit(**old))
    from timm.models.vision_transformer import checkpoint_filter_fn

    save_file(
        {n: t.numpy() for n, t in source.state_dict().items()},
        tmp_path / "a.safetensors",
    )
    theirs = timm_vit(**{**old, **new})
    state = checkpoint_filter_fn(dict(source.state_dict()), theirs)
    theirs.load_state_dict(state, strict=True)
    report = convert(
        tmp_path / "a.safetensors",
        tmp_path / "b.safetensors",
        from_dialect="timm",
        to_dialect="timm",
        changes={**SETS, "global_pool": "token"},
        **options,
    )
    assert report.ok
    ours = timm_vit(**{**old, **new})
    made = load_file(tmp_path / "b.safetensors")
    ours.load_state_dict({n: torch.from_numpy(a) for n, a in made.items()}, strict=True)
    x = torch.from_numpy(image((2, 3, *report.config.img_size)))
    with torch.no_grad():
        first, second = theirs.eval()(x), ours.eval()(x)
    assert first.std() > 0.05
    assert (first - second).abs().max() < 1e-5


@pytest.mark.parametrize("chans", [1, 4])
def test_timm_adapts_its_own_kernel_likewise(chans, tmp_path):
    source = filled(timm_vit())
    from timm.models._manipulate import adapt_input_conv

    arrays = {n: t.numpy() for n, t in source.state_dict().items()}
    save_file(arrays, tmp_path / "a.safetensors")
    convert(
        tmp_path / "a.safetensors",
        tmp_path / "b.safetensors",
        from_dialect="timm",
        changes={**SETS, "global_pool": "token"},
        in_chans=chans,
    )
    made = load_file(tmp_path / "b.safetensors")["patch_embed.proj.weight"]
    wanted = adapt_input_conv(chans, source.patch_embed.proj.weight.detach())
    assert np.array_equal(made, wanted.numpy())


def test_huggingface_interpolates_as_image_size_does(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"image_size": 32, "patch_size": 8, "hidden_size": 24}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 36}
    config = transformers.ViTConfig(**sizes)
    model = filled(transformers.ViTModel(config, add_pooling_layer=False))
    model.save_pretrained(tmp_path / "hf")
    report = convert(
        tmp_path / "hf",
        tmp_path / "b.safetensors",
        image_size=(48, 40),
        output="tokens",
    )
    assert "image_size:32x32->48x40:bicubic" in report.steps
    assert not any("default" in note for e in report.effects for note in e.notes)
    import torch_vit

    ours = torch_vit.ViT.from_pretrained(tmp_path / "b.safetensors").eval()
    x = torch.from_numpy(image((2, 3, 48, 40)))
    with torch.no_grad():
        wanted = model(x, interpolate_pos_encoding=True).last_hidden_state
        found = ours(x)
    assert wanted.std() > 0.5 and (found - wanted).abs().max() < 1e-5


def test_dinov2_with_registers_is_folded_for_timm(tmp_path):
    """As timm's own converter does: the class token takes its position along."""
    transformers = pytest.importorskip("transformers")
    sizes = {"image_size": 32, "patch_size": 8, "hidden_size": 24, "mlp_ratio": 4}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 3}
    config = transformers.Dinov2WithRegistersConfig(**sizes, num_register_tokens=2)
    model = filled(transformers.Dinov2WithRegistersModel(config))
    model.save_pretrained(tmp_path / "hf")
    report = convert(
        tmp_path / "hf", tmp_path / "b.safetensors", to_dialect="timm", output="tokens"
    )
    assert "fold_cls_pos" in report.steps
    options = {"reg_tokens": 2, "no_embed_class": True, "init_values": 1e-5}
    ours = timm_vit(**options, num_classes=0, global_pool="")
    made = load_file(tmp_path / "b.safetensors")
    ours.load_state_dict({n: torch.from_numpy(a) for n, a in made.items()}, strict=True)
    x = torch.from_numpy(image((2, 3, 32, 32)))
    with torch.no_grad():
        wanted = model(x).last_hidden_state
        found = ours.eval()(x)
    assert wanted.std() > 0.5 and (found - wanted).abs().max() < 1e-5
