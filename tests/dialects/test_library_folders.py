"""Folders of timm and Hugging Face as sources: all that stands in them is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import converters
from tests.dialects.test_folder import folder as huggingface_folder
from tests.fill import fill_weights
from vit_config import ConfigError, ViTConfig
from vit_config.weights import weight_table

RECORD = Path(__file__).parents[1] / "vit_config" / "timm_shapes.json"
SAVED = json.loads(RECORD.read_text("utf-8"))["saved"]
SMALL = {"embed_dim": 24, "num_heads": 3, "depth": 1}


def timm_config(index: int = 1, **changes: Any) -> dict[str, Any]:
    """A config that timm saved, of a smaller model."""
    config = json.loads(json.dumps(SAVED[index]["config"]))
    config["model_args"] = {**config.get("model_args", {}), **SMALL}
    config["num_features"] = SMALL["embed_dim"]
    return {**config, **changes}


def timm_folder(
    path: Path, fields: dict[str, Any], weights: str = "model.safetensors"
) -> tuple[Path, ViTConfig]:
    path.mkdir()
    config = ViTConfig.from_dialect("timm", fields)
    arrays = fill_weights(config)
    if weights.endswith(".safetensors"):
        save_file(arrays, path / weights)
    else:
        torch = pytest.importorskip("torch")
        state = {name: torch.from_numpy(values) for name, values in arrays.items()}
        torch.save(state, path / weights)
    (path / "config.json").write_text(json.dumps(fields))
    return path, config


@pytest.mark.parametrize(
    "weights", ["model.safetensors", "pytorch_model.bin", "model.pth"]
)
def test_timm_folder_is_read_by_its_own_config(tmp_path: Path, weights: str) -> None:
    labels = [f"class {i}" for i in range(7)]
    source, config = timm_folder(
        tmp_path / "hub", timm_config(label_names=labels), weights
    )
    report = converters.convert(source, tmp_path / "out.safetensors")
    assert report.source_dialect == "timm"
    assert report.config.architecture() == config.architecture()
    assert report.config.labels == tuple(labels)
    assert report.config.data == config.data is not None
    assert report.config.source is not None
    assert report.config.source.name == "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert report.config.source.licence == "apache-2.0"
    ours = load_file(tmp_path / "out.safetensors")
    for name, values in fill_weights(config).items():
        np.testing.assert_array_equal(ours[name], values)


@pytest.mark.parametrize("index", range(len(SAVED)))
def test_every_saved_config_finds_its_weights(tmp_path: Path, index: int) -> None:
    source, config = timm_folder(tmp_path / "hub", timm_config(index))
    report = converters.convert(source, tmp_path / "out.keras", verify="weights")
    assert report.tensors == len(weight_table(config)) == report.proved


def test_cropped_input_is_a_step_of_the_report(tmp_path: Path) -> None:
    index = [e["config"]["architecture"] for e in SAVED].index(
        "vit_so400m_patch14_siglip_384"
    )
    source, _ = timm_folder(tmp_path / "hub", timm_config(index))
    report = converters.convert(source, tmp_path / "out.safetensors")
    assert report.steps == ("crop_input:384x384->378x378",)
    assert report.config.source is not None
    assert report.config.source.steps == report.steps


def test_callers_word_stands_above_the_folder(tmp_path: Path) -> None:
    source, config = timm_folder(tmp_path / "hub", timm_config())
    report = converters.convert(
        source, tmp_path / "out.safetensors", changes={"problem_type": "multi_label"}
    )
    assert report.config.problem_type == "multi_label"
    other = config.replace(norm_eps=1e-3)
    report = converters.convert(source, tmp_path / "two.safetensors", config=other)
    assert report.config.norm_eps == 1e-3


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"architecture": "resnet50"}, "'resnet50' is timm's ResNet"),
        ({"colour": 1}, "colour: not a field of timm's config.json"),
        ({"model_args": {"block_fn": "Other"}}, "block_fn: found 'Other'"),
    ],
)
def test_config_that_says_another_model_is_refused(
    tmp_path: Path, fields: dict[str, Any], text: str
) -> None:
    source, _ = timm_folder(tmp_path / "hub", timm_config())
    (source / "config.json").write_text(json.dumps({**timm_config(), **fields}))
    with pytest.raises(ConfigError) as caught:
        converters.convert(source, tmp_path / "out.safetensors")
    assert text in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_folder_without_weights_says_what_it_looked_for(tmp_path: Path) -> None:
    source, _ = timm_folder(tmp_path / "hub", timm_config())
    (source / "model.safetensors").unlink()
    with pytest.raises(converters.ConversionError) as caught:
        converters.convert(source, tmp_path / "out.safetensors")
    assert "no file of weights" in str(caught.value)
    assert "Expected model.safetensors or its index" in str(caught.value)


def test_adapter_beside_the_weights_is_not_passed_over(tmp_path: Path) -> None:
    source, _ = timm_folder(tmp_path / "hub", timm_config())
    (source / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(converters.ConversionError, match="an adapter changes what"):
        converters.convert(source, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_weights_that_are_not_the_configs_are_refused(tmp_path: Path) -> None:
    source, _ = timm_folder(tmp_path / "hub", timm_config())
    fields = timm_config()
    fields["model_args"]["depth"] = 2
    (source / "config.json").write_text(json.dumps(fields))
    with pytest.raises(converters.ConversionError, match="depth"):
        converters.convert(source, tmp_path / "out.safetensors")


def test_huggingface_preprocessing_and_labels_go_into_the_config(
    tmp_path: Path,
) -> None:
    source, _ = huggingface_folder(tmp_path / "hub", "ViTForImageClassification")
    fields = json.loads((source / "config.json").read_text())
    count = fields.get("num_labels") or len(fields["id2label"])
    fields.pop("num_labels", None)
    fields["id2label"] = {str(i): f"class {i}" for i in range(count)}
    fields["problem_type"] = "multi_label_classification"
    (source / "config.json").write_text(json.dumps(fields))
    channels = ViTConfig.from_dialect("huggingface", fields).in_chans
    preprocessor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 40, "width": 40},
        "image_mean": [0.1 * (i + 1) for i in range(channels)],
        "image_std": [0.2] * channels,
        "resample": 3,
    }
    (source / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    config = converters.convert(source, tmp_path / "out.keras", verify="weights").config
    assert config.labels == tuple(f"class {i}" for i in range(count))
    assert config.problem_type == "multi_label"
    assert config.data is not None
    assert config.data.mean == tuple(preprocessor["image_mean"])
    assert config.data.interpolation == "bicubic"
    # transformers 5 reads this one, if there are both.
    nested = {"image_processor": {**preprocessor, "image_std": [0.7] * channels}}
    (source / "processor_config.json").write_text(json.dumps(nested))
    config = converters.convert(source, tmp_path / "nested.safetensors").config
    assert config.data is not None and config.data.std == (0.7,) * channels
    (source / "processor_config.json").write_text('{"processor_class": "CLIP"}')
    config = converters.convert(source, tmp_path / "old.safetensors").config
    assert config.data is not None and config.data.std == (0.2,) * channels
    preprocessor["colour"] = "blue"
    (source / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    with pytest.raises(ConfigError, match="colour: not a field"):
        converters.convert(source, tmp_path / "two.keras", verify="weights")


# ---- live -------------------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("vit_tiny_patch16_224", {"num_classes": 5, "img_size": (64, 48)}),
        ("vit_base_patch16_clip_quickgelu_224", {"in_chans": 1, "img_size": 64}),
        ("vit_small_patch14_reg4_dinov2", {"img_size": (28, 42)}),
        ("vit_medium_patch16_gap_240", {"num_classes": 0}),
        ("deit3_small_patch16_224", {"num_classes": 3}),
    ],
)
def test_folder_that_timm_saved_gives_its_outputs(
    tmp_path: Path, name: str, changes: dict[str, Any], safe: bool
) -> None:
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm", minversion="1.0.31")
    import torch_vit
    from tests.fill import image

    model = timm.create_model(name, **{"depth": 2, **changes}).eval()
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    from timm.models._hub import save_for_hf

    save_for_hf(model, tmp_path / "hub", safe_serialization=safe)
    converters.convert(tmp_path / "hub", tmp_path / "out.safetensors")
    ours = torch_vit.ViT.from_pretrained(tmp_path / "out.safetensors").eval()
    x = torch.from_numpy(
        image((2, model.patch_embed.proj.in_channels, *model.patch_embed.img_size))
    )
    with torch.no_grad():
        expected, found = model(x), ours(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)


def two_towers(transformers: object, kind: str):
    """A whole model of images and text, tiny, as transformers makes it."""
    import torch

    vision = {
        **{"hidden_size": 24, "intermediate_size": 36, "num_hidden_layers": 2},
        **{"num_attention_heads": 3, "image_size": 32, "patch_size": 8},
    }
    text = {
        **{"hidden_size": 24, "intermediate_size": 36, "num_hidden_layers": 1},
        **{"num_attention_heads": 3, "vocab_size": 99},
    }
    if kind == "CLIP":
        vision["projection_dim"] = 20  # which the tower alone reads
    config = getattr(transformers, f"{kind}Config")(
        vision_config=vision,
        text_config=text,
        **({"projection_dim": 20} if kind == "CLIP" else {}),
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "tower", "output"),
    [
        ("CLIP", "CLIPVisionModelWithProjection", "image_embeds"),
        ("Siglip", "SiglipVisionModel", "pooler_output"),
    ],
)
def test_folder_of_two_towers_gives_the_image_towers_outputs(
    tmp_path: Path, kind: str, tower: str, output: str
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers", minversion="5.0")
    import torch_vit
    from tests.fill import image

    two_towers(transformers, kind).save_pretrained(tmp_path / "hub")
    report = converters.convert(tmp_path / "hub", tmp_path / "out.safetensors")
    assert any("text" in name for name in report.dropped)
    library = getattr(transformers, tower).from_pretrained(tmp_path / "hub").eval()
    ours = torch_vit.ViT.from_pretrained(tmp_path / "out.safetensors").eval()
    x = torch.from_numpy(image((2, 3, 32, 32)))
    with torch.no_grad():
        expected, found = library(x)[output], ours(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)
