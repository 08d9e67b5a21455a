"""MONAI bundles: JSON only, references followed, code never run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import converters
from converters.cli.app import app
from converters.libraries.monai.config_bundle import read_bundle
from tests.dialects.common import monai_names
from tests.fill import fill_weights, image
from vit_config import ConfigError, IntensityConfig, ViTConfig
from vit_config.preprocess_volume import make_volume_plan

torch = pytest.importorskip("torch")

ARGUMENTS = {
    "in_channels": 2,
    "img_size": [16, 12, 20],
    "patch_size": [4, 6, 5],
    "hidden_size": 24,
    "mlp_dim": 36,
    "num_layers": 2,
    "num_heads": 3,
}
NETWORK = {
    **ARGUMENTS,
    "_target_": "ViT",
    "img_size": "@image_size",
    "num_layers": "@sizes::layers",
    "classification": True,
    "num_classes": 2,
    "post_activation": "none",
}
TRANSFORMS = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0]},
    {
        "_target_": "ScaleIntensityRanged",
        "keys": "image",
        **{"a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1, "clip": True},
    },
    {"_target_": "EnsureTyped", "keys": "image", "device": "@device"},
]
SIZE = [16, 12, 20]
PAD = {"_target_": "ResizeWithPadOrCropd", "spatial_size": SIZE, "value": -1}
INFERENCE: dict[str, Any] = {
    "imports": ["$import glob"],
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "image_size": [16, 12, 20],
    "sizes": {"layers": 2},
    "network_def": NETWORK,
    "network": "$@network_def.to(@device)",
    "preprocessing": {"_target_": "Compose", "transforms": TRANSFORMS},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
    },
}
METADATA: dict[str, Any] = {
    "name": "lung nodules",
    "monai_version": "1.4.0",
    "data_source": "LIDC",
    "network_data_format": {
        "inputs": {"image": {"type": "image", "num_channels": 2}},
        "outputs": {"pred": {"channel_def": {"0": "benign", "1": "malign"}}},
    },
}


def bundle(
    path: Path, config: dict[str, Any], weights: dict[str, Any], name: str = "inference"
) -> Path:
    (path / "configs").mkdir(parents=True)
    (path / "models").mkdir()
    (path / "configs" / f"{name}.json").write_text(json.dumps(config))
    (path / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    torch.save(weights, path / "models" / "model.pt")
    return path


def state(config: ViTConfig) -> dict[str, Any]:
    named = monai_names(config, fill_weights(config), perceptron=False)
    return {name: torch.from_numpy(values) for name, values in named.items()}


def inference(**changes: Any) -> dict[str, Any]:
    return json.loads(json.dumps({**INFERENCE, **changes}))


def model(**changes: Any) -> ViTConfig:
    return ViTConfig(**read_bundle(inference(**changes), METADATA))


def problems(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        model(**changes)
    return "\n".join(caught.value.problems)


def test_bundle_is_converted_in_one_line(tmp_path: Path) -> None:
    config = model()
    folder = bundle(tmp_path / "bundle", INFERENCE, state(config))
    target = tmp_path / "out.safetensors"
    result = CliRunner().invoke(app, ["convert", str(folder), str(target), "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["source_dialect"] == "monai@1.0"
    assert ViTConfig.from_dict(found["config"]).architecture() == config.architecture()
    assert converters.inspect(folder).fingerprint == found["fingerprint"]


def test_everything_around_the_network_is_read() -> None:
    config = model()
    assert (
        config.architecture()
        == ViTConfig.from_dialect(
            "monai",
            {
                **ARGUMENTS,
                **{"classification": True, "num_classes": 2, "post_activation": None},
            },
        )
        .replace(problem_type="single_label")
        .architecture()
    )
    data, source = config.data, config.source
    assert data is not None and source is not None and data.intensity is not None
    assert (data.orientation, data.spacing_mm) == ("RAS", (1.5, 1.5, 2.0))
    assert (data.intensity.kind, data.intensity.low) == ("window", -57.0)
    assert data.input_range == (0.0, 1.0)
    assert config.labels == ("benign", "malign")
    assert (source.name, source.library_version) == ("lung nodules", "1.4.0")
    assert source.pretraining_data == "LIDC"


def test_train_config_stands_in(tmp_path: Path) -> None:
    config = model()
    train = inference(train={"preprocessing": INFERENCE["preprocessing"]})
    del train["preprocessing"]
    folder = bundle(tmp_path / "bundle", train, state(config), "train")
    found = converters.inspect(folder).config
    assert found is not None and found.data == config.data


def test_code_is_never_run_and_refused_where_it_is_needed(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    code = f"$__import__('pathlib').Path({str(ran)!r}).touch()"
    text = problems(network_def={**NETWORK, "num_heads": code})
    assert 'network_def.num_heads: found "$__import__' in text
    assert "Python code, which is not run; write the value itself" in text
    assert "network_def.img_size" in problems(image_size=code)
    assert "preprocessing.0" in problems(preprocessing=[code])
    # Where it is not needed it does not matter.
    assert model(network=code, device=code).num_heads == 3
    assert not ran.exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"network_def": {**NETWORK, "_target_": "SwinUNETR"}}, "found 'SwinUNETR'"),
        ({"network_def": {**NETWORK, "_target_": "mine.ViT"}}, "found 'mine.ViT'"),
        ({"network_def": {**NETWORK, "colour": 1}}, "network_def.colour: not a field"),
        ({"network_def": "$ViT()"}, "network_def: required, an object with a _target_"),
        ({"network_def": {**NETWORK, "img_size": "@nowhere"}}, "there is no 'nowhere'"),
        ({"network_def": {**NETWORK, "img_size": "%x.json#y"}}, "a copy; write the"),
        ({"image_size": "@image_size"}, "references in a circle"),
        ({"network_def": {**NETWORK, "_disabled_": True}}, "_disabled_=True"),
    ],
)
def test_network_that_cannot_be_held_is_refused_by_name(
    changes: dict[str, Any], text: str
) -> None:
    assert text in problems(**changes)


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        ({"_target_": "CropForegroundd"}, "(CropForeground): cannot be held"),
        ({"_target_": "mine.Strange"}, "(Strange): cannot be held"),
        ({**TRANSFORMS[4], "b_max": None}, "b_min and b_max must be stated"),
        ({**TRANSFORMS[4], "a_min": 5}, "after one that sets intensity"),
        (TRANSFORMS[3] | {"padding_mode": "zeros"}, "padding_mode='zeros' cannot be"),
        (TRANSFORMS[3] | {"mode": 3}, "mode=3 cannot be held"),
        (TRANSFORMS[3], "(Spacing): after one that sets intensity"),
        ({**PAD, "method": "end"}, "method='end' cannot be held"),
        ({**PAD, "mode": "edge"}, "mode='edge' cannot be held"),
        ({**PAD, "spatial_size": 8}, "spatial_size=[8, 8, 8]; the network's img_size"),
        ({**TRANSFORMS[4], "colour": 1}, "colour=1 cannot be held"),
        (
            {"_target_": "Resized", "spatial_size": SIZE, "mode": "bicubic"},
            "mode='bicubic' cannot be held",
        ),
        ({"_target_": "Lambdad", "func": "$lambda x: -x"}, "(Lambda): cannot be held"),
        ({"_target_": "NormalizeIntensityd"}, "after one that sets intensity"),
        ({"_target_": "NormalizeIntensityd", "divisor": 2}, "the other is each scan's"),
        (
            {"_target_": "NormalizeIntensityd", "subtrahend": [1] * 3, "divisor": 2},
            "mean of 3 channels, not 2",
        ),
        (
            {"_target_": "Orientationd", "axcodes": "RAS"},
            "(Orientation): after one that sets spacing_mm",
        ),
        ({"_target_": "Spacingd", "pixdim": [1.5, 2]}, "for each of three axes"),
        ({"_target_": "Spacingd", "pixdim": [-1, 2, 2]}, "for each of three axes"),
        (
            {"_target_": "Resized", "spatial_size": [9, 9, 9], "mode": "bilinear"},
            "spatial_size=[9, 9, 9]; the network's img_size is [16, 12, 20]",
        ),
    ],
)
def test_transform_that_cannot_be_held_is_refused_with_the_way_out(
    tmp_path: Path, transform: dict[str, Any], text: str
) -> None:
    config = inference(preprocessing=[*TRANSFORMS, transform])
    assert text in problems(preprocessing=config["preprocessing"])
    folder = bundle(tmp_path / "bundle", config, state(model()))
    call = ["convert", str(folder), str(tmp_path / "x.safetensors")]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 1 and "--set data=null" in result.stderr
    assert not (tmp_path / "x.safetensors").exists()
    result = CliRunner().invoke(app, [*call, "--set", "data=null"])
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("transform", "data"),
    [
        ({"_target_": "ScaleIntensityd"}, {"kind": "percentile", "high": 100.0}),
        (
            {
                "_target_": "ScaleIntensityRangePercentilesd",
                **{"lower": 1, "upper": 99, "b_min": 0, "b_max": 1, "clip": True},
            },
            {"kind": "percentile", "low": 1.0, "high": 99.0},
        ),
        (
            {"_target_": "monai.transforms.NormalizeIntensity", "channel_wise": False},
            {"kind": "zscore"},
        ),
    ],
)
def test_intensities(transform: dict[str, Any], data: dict[str, Any]) -> None:
    found = model(preprocessing=[transform]).data
    assert found is not None and found.intensity is not None
    assert {k: getattr(found.intensity, k) for k in data} == data


def test_channels_by_themselves_are_not_channels_together() -> None:
    each = {"_target_": "NormalizeIntensityd", "channel_wise": True}
    found = ViTConfig(**read_bundle(inference(preprocessing=[each]), METADATA)).data
    assert found is not None and found.intensity is not None
    assert found.intensity.channel_wise is True
    grey = inference(network_def={**NETWORK, "in_channels": 1}, preprocessing=[each])
    found = ViTConfig(**read_bundle(grey, {})).data
    assert found is not None and found.intensity is not None
    assert found.intensity.kind == "zscore"


def test_window_is_before_mean_and_deviation() -> None:
    plain = {"_target_": "NormalizeIntensityd", "subtrahend": 0.5, "divisor": [0.2, 3]}
    found = model(preprocessing=[TRANSFORMS[4], plain]).data
    assert found is not None and found.intensity is not None
    assert (found.mean, found.std) == ((0.5, 0.5), (0.2, 3.0))
    assert "after one that sets mean" in problems(preprocessing=[plain, TRANSFORMS[4]])


@pytest.mark.parametrize(
    "transform",
    [
        {"_target_": "ScaleIntensityd"},
        {"_target_": "NormalizeIntensityd"},
        {"_target_": "Orientationd", "axcodes": "RA"},
        TRANSFORMS[4],
    ],
)
def test_what_only_volumes_have_is_not_left_out_of_a_plane(
    transform: dict[str, Any],
) -> None:
    plane = {**ARGUMENTS, "_target_": "ViT", "spatial_dims": 2}
    plane |= {"img_size": [16, 12], "patch_size": 4}
    text = problems(network_def=plane, preprocessing=[transform])
    assert "cannot be held of a 2D model" in text
    pixels = {**TRANSFORMS[4], "a_min": 0, "a_max": 255}
    found = model(network_def=plane, preprocessing=[pixels]).data
    assert found is not None and found.input_range == (0.0, 1.0)


def test_resize() -> None:
    resize = {"_target_": "Resized", "spatial_size": SIZE, "mode": "trilinear"}
    found = model(preprocessing=[resize]).data
    assert found is not None
    assert (found.interpolation, found.fit, found.fit_first) == (
        "bilinear",
        "resize",
        True,
    )
    found = model(preprocessing=[{"_target_": "Resized", "spatial_size": SIZE}]).data
    assert found is not None and found.interpolation == "area"  # MONAI's default
    plane = {**ARGUMENTS, "_target_": "ViT", "spatial_dims": 2}
    plane |= {"img_size": [16, 12], "patch_size": 4}
    resize |= {"spatial_size": [16, 12], "mode": "nearest-exact"}
    found = model(network_def=plane, preprocessing=[resize]).data
    assert found is not None
    assert (found.fit, found.crop_mode, found.crop_pct) == (None, "squash", 1.0)
    assert found.interpolation == "nearest"
    for mode in ("bilinear", "bicubic", "nearest", "area"):
        text = problems(network_def=plane, preprocessing=[resize | {"mode": mode}])
        assert f"mode={mode!r} cannot be held of images" in text
        assert "with antialiasing" in text
    del resize["mode"]
    text = problems(network_def=plane, preprocessing=[resize])
    assert "mode='area' cannot be held of images" in text
    resize |= {"mode": "bilinear", "anti_aliasing": True}
    text = problems(network_def=plane, preprocessing=[resize])
    assert "anti_aliasing=True cannot be held" in text
    resize = {"_target_": "Resized", "spatial_size": SIZE, "mode": "nearest-exact"}
    text = problems(preprocessing=[resize])
    assert "mode='nearest-exact' cannot be held of volumes" in text


def test_pictures_that_are_read_columns_first_are_refused() -> None:
    plane = {**ARGUMENTS, "_target_": "ViT", "spatial_dims": 2}
    plane |= {"img_size": [16, 12], "patch_size": 4}
    pixels = {**TRANSFORMS[4], "a_min": 0, "a_max": 255}
    load = {"_target_": "LoadImaged", "keys": "image"}
    text = problems(network_def=plane, preprocessing=[load, pixels])
    assert "(LoadImage): without reverse_indexing=False" in text
    for more in (
        {"reader": "PILReader", "reverse_indexing": False},
        {"reader": "NumpyReader"},
        {"keys": "label"},
    ):
        found = model(network_def=plane, preprocessing=[load | more, pixels]).data
        assert found is not None and found.input_range == (0.0, 1.0)
    assert model(preprocessing=[load, TRANSFORMS[2]]).data is not None  # of volumes


@pytest.mark.parametrize("mode", ["nearest-exact", "nearest", "bilinear"])
def test_monai_resizes_images_as_is_stated_or_it_is_not(mode: str) -> None:
    """The reason for what is held above, and what is refused: MONAI itself."""
    transforms = pytest.importorskip("monai.transforms")
    import torch_vit

    data = {"mean": (0.0, 0.0), "std": (1.0, 1.0), "input_range": (0.0, 255.0)}
    data |= {"interpolation": mode.removesuffix("-exact"), "crop_pct": 1.0}
    plane = ViTConfig(
        **{"img_size": (16, 12), "patch_size": 4, "in_chans": 2, "embed_dim": 24},
        **{
            "depth": 1,
            "num_heads": 3,
            "mlp_dim": 8,
            "data": data | {"crop_mode": "squash"},
        },
    )
    pixels = torch.randint(0, 256, (1, 2, 37, 50), dtype=torch.uint8)
    ours = torch_vit.Preprocess(plane)(pixels)[0]
    theirs = transforms.Resize((16, 12), mode=mode)(pixels[0].float()).as_tensor()
    assert torch.equal(ours, theirs) == (mode == "nearest-exact")


def test_order_of_fit_and_intensity() -> None:
    zscore = {"_target_": "NormalizeIntensityd", "nonzero": True}
    window = TRANSFORMS[4]
    plain = {"_target_": "NormalizeIntensityd", "subtrahend": 0.5, "divisor": 2}
    for steps, first in (([PAD, zscore], True), ([window, plain, PAD], False)):
        found = model(preprocessing=[*TRANSFORMS[:4], *steps]).data
        assert found is not None
        assert (found.fit, found.fit_first) == ("pad_or_crop", first)
        assert found.pad_value == -1
    text = "after one that pads: cannot be held"
    assert text in problems(preprocessing=[window, PAD, plain])
    assert "after one that sets fit" in problems(
        preprocessing=[PAD, PAD | {"value": 2}]
    )
    assert "(Spacing): after one that sets fit" in problems(
        preprocessing=[PAD, TRANSFORMS[3]]
    )
    assert "(Orientation): after one that sets fit" in problems(
        preprocessing=[PAD, TRANSFORMS[2]]
    )


def test_a_stated_bundle_has_a_plan() -> None:
    """Orientation says the axes, too."""
    plan = make_volume_plan(model(preprocessing=[*TRANSFORMS, PAD]))
    assert plan.intensity == IntensityConfig(
        kind="window", low=-57.0, high=164.0, clip=True
    )
    assert (plan.fit, plan.fit_first, plan.pad_value) == ("pad_or_crop", False, -1)
    data = model(preprocessing=[{**TRANSFORMS[2], "axcodes": "SPL"}]).data
    assert data is not None and data.axes == ("Z", "Y", "X")
    with pytest.raises(ConfigError, match=r"data\.fit: not stated"):
        make_volume_plan(model())


def test_inputs_of_other_channels_are_refused(tmp_path: Path) -> None:
    other = json.loads(json.dumps(METADATA))
    other["network_data_format"]["inputs"]["image"]["num_channels"] = 1
    with pytest.raises(ConfigError, match="num_channels 1, the network 2"):
        read_bundle(INFERENCE, other)


def test_bundle_that_is_not_one(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle", INFERENCE, state(model()))
    config = folder / "configs" / "inference.json"
    config.rename(config.with_suffix(".yaml"))
    with pytest.raises(converters.ConversionError, match="YAML or Python are not read"):
        converters.inspect(folder)
    # Told the model by the caller, the configs do not matter.
    assert converters.inspect(folder, config=model()).fingerprint
    (folder / "models" / "model.pt").unlink()
    with pytest.raises(converters.ConversionError, match="a bundle without weights"):
        converters.inspect(folder)


# ---- live -------------------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["ViT", "ViTAutoEnc", "UNETR", "MaskedAutoEncoderViT"])
def test_bundle_gives_the_outputs_of_the_network_that_monai_makes(
    tmp_path: Path, name: str
) -> None:
    pytest.importorskip("monai")
    from monai.bundle import ConfigParser

    import torch_vit

    network: dict[str, Any] = {**ARGUMENTS, "_target_": f"monai.networks.nets.{name}"}
    if name == "ViT":
        network = {**NETWORK, "_target_": "ViT"}
    if name == "ViTAutoEnc":
        network |= {"patch_size": 4, "img_size": [16, 8, 12]}
    if name == "UNETR":
        network = {
            **{"_target_": "UNETR", "in_channels": 2, "out_channels": 3},
            **{"img_size": [32, 16, 48], "hidden_size": 24, "mlp_dim": 36},
            **{"num_heads": 3, "feature_size": 8},
        }
    if name.startswith("Masked"):
        network |= {"decoder_hidden_size": 24, "decoder_num_heads": 3}
    config = inference(network_def=network, postprocessing=[])
    parser = ConfigParser(config)
    library = parser.get_parsed_content("network_def")
    torch.manual_seed(0)
    for parameter in library.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = bundle(tmp_path / "bundle", config, library.state_dict())
    converters.convert(folder, tmp_path / "out.safetensors")
    ours = torch_vit.ViT.from_pretrained(tmp_path / "out.safetensors").eval()
    x = torch.from_numpy(image((2, 2, *ours.config.img_size)))
    library.eval()
    with torch.no_grad():
        if name == "ViT":
            expected = library(x)[0]
        elif name == "UNETR":
            expected = library.vit(x)[0]
        elif name == "ViTAutoEnc":
            expected = encoder(library, x)
        else:
            expected = masked_encoder(library, x)
        found = ours(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)


def encoder(library: Any, x: Any) -> Any:
    """The part of ViTAutoEnc before its decoder."""
    x = library.patch_embedding(x)
    for block in library.blocks:
        x = block(x)
    return library.norm(x)


def masked_encoder(library: Any, x: Any) -> Any:
    """The masked autoencoder's encoder, nothing masked."""
    x = library.patch_embedding(x)
    x = torch.cat([library.cls_token.expand(len(x), -1, -1), x], 1)
    return library.blocks(x)
