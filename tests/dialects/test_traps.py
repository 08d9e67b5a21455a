"""What defeats importers that take a file for what it usually is, on real names.

Files are those of `test_real_files`; each is changed in one way, or differs in one way
from the library's default, and has to be read as it is or refused.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from converters.conversion.convert import convert
from converters.errors import ConversionError
from tests.dialects.test_real_files import case_of, library_file
from vit_config import ConfigError, ViTConfig


def hub(folder: Path, name: str = "hf_vit") -> Path:
    """A Hugging Face folder: another epsilon and activation, one channel, no qkv bias,
    and an image size that is a list."""
    folder.mkdir()
    source, _, _ = library_file(name, folder)
    return source


def edited(folder: Path, change) -> Path:
    """The same with other tensors."""
    path = folder / "model.safetensors"
    arrays = load_file(path)
    change(arrays)
    save_file(arrays, path)
    return folder


def refused(source: Path, tmp_path: Path) -> str:
    with pytest.raises((ConversionError, ConfigError)) as error:
        convert(source, tmp_path / "m.keras")
    assert not (tmp_path / "m.keras").exists()
    return str(error.value)


def test_what_differs_from_the_default_is_read(tmp_path: Path) -> None:
    said = case_of("hf_vit")["config"]
    assert said["layer_norm_eps"] == 0.03 and said["hidden_act"] == "relu"
    assert said["image_size"] == [48, 32] and said["num_channels"] == 1
    assert said["qkv_bias"] is False
    found = convert(hub(tmp_path / "hub"), tmp_path / "m.keras").config
    assert found.norm_eps == 0.03 and found.act_layer == "relu"
    assert found.img_size == (48, 32) and found.in_chans == 1
    assert found.qkv_bias is False


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("qkv_bias", True, "qkv_bias"),
        ("num_channels", 3, "in_chans"),
        ("num_hidden_layers", 1, "depth"),
        ("intermediate_size", 40, "mlp_dim"),
        ("patch_size", [16, 8], "patch_size"),
        ("hidden_act", "mish", "hidden_act"),
        ("image_size", [32, 48, 3], "image_size"),
        ("image_size", [64, 32], "position_embeddings"),
        ("is_decoder", True, "is_decoder"),
        ("window_size", 7, "window_size"),
    ],
)
def test_a_config_that_is_not_the_file_s(
    name: str, value: object, field: str, tmp_path: Path
) -> None:
    source = hub(tmp_path / "hub")
    said = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**said, name: value}))
    assert field in refused(source, tmp_path)


def test_no_prefix(tmp_path: Path) -> None:
    """A bare model has none: nothing is cut off, nothing is expected."""
    source = hub(tmp_path / "hub", "hf_vit_tokens")
    assert not any(
        n.startswith("vit.") for n in load_file(source / "model.safetensors")
    )
    report = convert(source, tmp_path / "m.keras")
    assert report.source_dialect == "huggingface@vit-bare"
    assert report.config.num_classes == 0 and report.config.global_pool == "none"


def test_an_extra_layer(tmp_path: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        for name in [n for n in arrays if ".layer.1." in n]:
            arrays[name.replace(".layer.1.", ".layer.2.")] = arrays[name]

    source = edited(hub(tmp_path / "hub"), change)
    assert "depth  found 3 in the file" in refused(source, tmp_path)


@pytest.mark.parametrize(
    "decoy",
    ["x.vit.layernorm.weight", "vit.x.layernorm.weight", "student.classifier.weight"],
)
def test_decoys_of_the_same_ending(decoy: str, tmp_path: Path) -> None:
    def beside(arrays: dict[str, np.ndarray]) -> None:
        arrays[decoy] = np.ones(24, np.float32)

    def instead(arrays: dict[str, np.ndarray]) -> None:
        arrays[decoy] = arrays.pop("vit.layernorm.bias")

    text = refused(edited(hub(tmp_path / "a"), beside), tmp_path)
    assert f"unexpected  {decoy}" in text
    text = refused(edited(hub(tmp_path / "b"), instead), tmp_path)
    assert f"unexpected  {decoy}" in text
    assert "missing     vit.layernorm.bias" in text


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(value: float, tmp_path: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["vit.encoder.layer.1.output.dense.weight"][2, 3] = value

    text = refused(edited(hub(tmp_path / "hub"), change), tmp_path)
    assert "output.dense" in text or "mlp.fc2" in text
    assert ("1 NaN" if np.isnan(value) else "1 infinite") in text


@pytest.mark.parametrize("kind", ["int8", "float64"])
def test_other_types(kind: str, tmp_path: Path) -> None:
    def all_of(arrays: dict[str, np.ndarray]) -> None:
        for name, values in arrays.items():
            arrays[name] = values.astype(kind)

    def one_of(arrays: dict[str, np.ndarray]) -> None:
        arrays["classifier.weight"] = arrays["classifier.weight"].astype(kind)

    for name, change in (("a", all_of), ("b", one_of)):
        source = edited(hub(tmp_path / name), change)
        assert f"found {kind}" in refused(source, tmp_path)
    if kind == "float64":
        report = convert(tmp_path / "a", tmp_path / "m.keras", dtype="float32")
        assert report.steps == ("cast_float32",)


def test_gelu_by_another_name_is_another(tmp_path: Path) -> None:
    """transformers' names: `gelu_fast` and its like are the tanh form."""
    said = {**case_of("hf_vit")["config"], "hidden_act": "gelu_fast"}
    assert ViTConfig.from_dialect("huggingface", said).act_layer == "gelu_tanh"
