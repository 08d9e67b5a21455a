"""Quantised weights are named, with the way out; nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import converters
from converters.errors import ConversionError
from tests.dialects.distributed import as_tensors
from tests.dialects.test_folder import folder

torch = pytest.importorskip("torch")

LAYER = "vit.encoder.layer.0.output.dense"
BYTES = np.arange(12, dtype=np.int8)
FLOATS = np.ones(3, np.float32)
QUANTISED: dict[str, tuple[dict[str, np.ndarray], str, str]] = {
    # what each library puts beside or in the place of a layer's weight
    "bitsandbytes 8": (
        {".weight": BYTES, ".SCB": FLOATS, ".weight_format": BYTES[:1]},
        "bitsandbytes, 8 bits",
        "dequantize",
    ),
    "bitsandbytes 4": (
        {
            ".weight": BYTES.view(np.uint8),
            ".weight.absmax": FLOATS,
            ".weight.quant_map": FLOATS,
            ".weight.quant_state.bitsandbytes__nf4": BYTES.view(np.uint8),
        },
        "bitsandbytes, 4 bits",
        "dequantize",
    ),
    "GPTQ": (
        {".qweight": BYTES, ".qzeros": BYTES, ".scales": FLOATS, ".g_idx": BYTES},
        "GPTQ or AWQ",
        "the checkpoint that it was made from",
    ),
    "AWQ": (
        {".qweight": BYTES, ".qzeros": BYTES, ".scales": FLOATS},
        "GPTQ or AWQ",
        "the checkpoint that it was made from",
    ),
    "fine-grained fp8": (
        {".weight": BYTES, ".weight_scale_inv": FLOATS},
        "fp8, with scales",
        "dequantize",
    ),
    "compressed-tensors": (
        {".weight_packed": BYTES, ".weight_scale": FLOATS},
        "compressed-tensors",
        "dequantize",
    ),
    "FBGEMM": (
        {".weight": BYTES, ".weight_scale": FLOATS},
        "fp8 or int8",
        "dequantize",
    ),
    "HQQ": ({".W_q": BYTES, ".meta": FLOATS}, "HQQ", "dequantize"),
    "quanto": (
        {".weight._data": BYTES, ".weight._scale": FLOATS},
        "quanto",
        "dequantize",
    ),
}


def refused(source: Path, tmp_path: Path, **options: Any) -> str:
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConversionError) as caught:
        converters.convert(source, out, **options)
    assert not out.exists()
    return str(caught.value)


@pytest.mark.parametrize("kind", QUANTISED)
@pytest.mark.parametrize("where", ["folder", "safetensors", "pth"])
def test_quantised_weights_are_named_with_the_way_out(
    kind: str, where: str, tmp_path: Path
) -> None:
    more, name, way_out = QUANTISED[kind]
    source, _ = folder(tmp_path / "hub", "ViTForImageClassification")
    file = source / "model.safetensors"
    arrays = load_file(file)
    del arrays[f"{LAYER}.weight"]
    arrays |= {LAYER + leaf: values for leaf, values in more.items()}
    save_file(arrays, file)
    if where == "pth":
        torch.save(as_tensors(arrays), tmp_path / "model.pth")
        file = tmp_path / "model.pth"
    text = refused(source if where == "folder" else file, tmp_path)
    assert f"quantised ({name}" in text and way_out in text
    assert LAYER in text


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_floats_of_8_bits_are_refused_by_name(
    kind: str, suffix: str, tmp_path: Path
) -> None:
    from safetensors.torch import save_file as save_tensors

    source, _ = folder(tmp_path / "hub", "ViTForImageClassification")
    tensors = as_tensors(load_file(source / "model.safetensors"))
    name = f"{LAYER}.weight"
    tensors[name] = tensors[name].to(getattr(torch, kind))
    file = tmp_path / f"model.{suffix}"
    torch.save(tensors, file) if suffix == "pth" else save_tensors(tensors, file)
    text = refused(file, tmp_path)
    assert "of 8 bits (float8" in text and name in text and "tensor.float()" in text


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "torchao"])
def test_config_that_says_so_is_enough(method: str, tmp_path: Path) -> None:
    source, _ = folder(tmp_path / "hub", "ViTForImageClassification")
    config = json.loads((source / "config.json").read_text())
    said = {"quant_method": method, "load_in_8bit": True}
    (source / "config.json").write_text(
        json.dumps({**config, "quantization_config": said})
    )
    text = refused(source, tmp_path)
    assert "quantization_config" in text and method in text and "dequantize" in text


@pytest.mark.parametrize("name", ["vit.gguf", "vit.safetensors", "vit.pth"])
def test_gguf_is_named_whatever_the_suffix(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(200))
    text = refused(tmp_path / name, tmp_path)
    assert "a GGUF file" in text and "made from" in text
