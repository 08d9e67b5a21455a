"""`flax_model.msgpack` of transformers 4: golden files it wrote, and damaged ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import converters
from converters.errors import ConversionError
from converters.files.msgpack_file import MsgpackFile

msgpack = pytest.importorskip("msgpack", reason="the extra `flax` is not installed")

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "flax_model"
MODELS = sorted(path.name for path in GOLDEN.iterdir())
DIALECTS = {
    "vit": "vit",
    "vit_bare": "vit-bare",
    "dinov2": "dinov2",
    "dinov2_bare": "dinov2-bare",
    "clip": "clip",
    "clip_whole": "clip-projection",
}
FILE = "flax_model.msgpack"


def packed(array: np.ndarray) -> Any:
    data = msgpack.packb((array.shape, array.dtype.name, array.tobytes()))
    return msgpack.ExtType(1, data)


def unpacked(folder: str = "vit") -> dict[str, Any]:
    """The nested maps, arrays as extensions."""
    found: dict[str, Any] = msgpack.unpackb((GOLDEN / folder / FILE).read_bytes())
    return found


def saved(tree: Any, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    shutil.copy(GOLDEN / "vit" / "config.json", folder)
    data = tree if isinstance(tree, bytes) else msgpack.packb(tree)
    (folder / FILE).write_bytes(data)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_flax(name: str) -> None:
    torch = pytest.importorskip("torch")
    import torch_vit

    twin = torch_vit.ViT.from_pretrained(GOLDEN / name).double().eval()
    with np.load(GOLDEN / name / "outputs.npz") as golden:
        images, outputs = golden["images"], golden["outputs"]
    with torch.no_grad():
        ours = twin(torch.from_numpy(images)).numpy()
    assert ours.shape == outputs.shape and outputs.std() > 0.1
    # Flax computes in float64, apart from constants that it keeps in float32.
    np.testing.assert_allclose(ours, outputs, atol=1e-6 * np.abs(outputs).max())


@pytest.mark.parametrize("name", MODELS)
def test_names_are_recognised_without_a_config(name: str, tmp_path: Path) -> None:
    shutil.copy(GOLDEN / name / FILE, tmp_path)
    found = converters.inspect(tmp_path / FILE)
    dialect, _, prefix = found.dialect.partition(" behind ")
    assert dialect == f"huggingface@{DIALECTS[name]}+flax"
    assert prefix in ("", '"vision_model/"')


def test_to_pytorch_names_and_back_is_bit_identical(tmp_path: Path) -> None:
    report = converters.convert(GOLDEN / "vit", tmp_path / "a.safetensors")
    assert report.source_format == "msgpack" and not report.dropped
    assert "msgpack has none" in report.others.unchecked
    converters.convert(
        tmp_path / "a.safetensors", tmp_path / "hf", to_dialect="huggingface"
    )
    theirs = load_file(tmp_path / "hf" / "model.safetensors")
    with MsgpackFile(GOLDEN / "vit" / FILE) as file:
        key = "vit/encoder/layer/1/intermediate/dense/kernel"
        values = theirs["vit.encoder.layer.1.intermediate.dense.weight"]
        np.testing.assert_array_equal(file.read(key), values.T)
        key = "vit/embeddings/patch_embeddings/projection/kernel"
        values = theirs["vit.embeddings.patch_embeddings.projection.weight"]
        np.testing.assert_array_equal(file.read(key), values.transpose(2, 3, 1, 0))


def test_large_arrays_in_chunks_are_joined(tmp_path: Path) -> None:
    tree = unpacked()
    with MsgpackFile(GOLDEN / "vit" / FILE) as file:
        kernel = file.read("classifier/kernel")
    flat = kernel.reshape(-1)
    tree["classifier"]["kernel"] = {
        "__msgpack_chunked_array__": True,
        "shape": {"0": kernel.shape[0], "1": kernel.shape[1]},
        "chunks": {str(i): packed(flat[7 * i : 7 * i + 7]) for i in range(9)},
    }
    folder = saved(tree, tmp_path / "hub")
    report = converters.convert(folder, tmp_path / "a.safetensors")
    whole = converters.convert(GOLDEN / "vit", tmp_path / "b.safetensors")
    assert report.fingerprint == whole.fingerprint


def test_shards_are_read_as_one_model(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    shutil.copy(GOLDEN / "vit" / "config.json", folder)
    tree = unpacked()
    parts = {"vit": tree["vit"]}, {"classifier": tree["classifier"]}
    where = {}
    for index, part in enumerate(parts):
        name = f"flax_model-0000{index + 1}-of-00002.msgpack"
        (folder / name).write_bytes(msgpack.packb(part))
        with MsgpackFile(folder / name) as file:
            where |= dict.fromkeys(file.tensors, name)
    index = {"metadata": {}, "weight_map": where}
    (folder / f"{FILE}.index.json").write_text(json.dumps(index))
    report = converters.convert(folder, tmp_path / "a.safetensors")
    whole = converters.convert(GOLDEN / "vit", tmp_path / "b.safetensors")
    assert report.fingerprint == whole.fingerprint


def test_state_of_a_training_is_left_aside(tmp_path: Path) -> None:
    state = {
        "params": unpacked(),
        "opt_state": {"0": {"mu": packed(np.ones(3, np.float32))}},
        "step": 7,
    }
    folder = saved(state, tmp_path / "hub")
    report = converters.convert(folder, tmp_path / "a.safetensors")
    whole = converters.convert(GOLDEN / "vit", tmp_path / "b.safetensors")
    assert report.fingerprint == whole.fingerprint
    assert report.others.aside == {"opt_state": "map", "step": "int"}


def _with(value: Any) -> dict[str, Any]:
    tree = unpacked()
    tree["classifier"]["bias"] = value
    return tree


def _array(shape: Any, dtype: Any, data: Any, code: int = 1) -> Any:
    return msgpack.ExtType(code, msgpack.packb((shape, dtype, data)))


WHOLE = (GOLDEN / "vit" / FILE).read_bytes()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (lambda: WHOLE[:-1], "cut short"),
        (lambda: WHOLE[: len(WHOLE) // 2], "cut short"),
        (lambda: WHOLE + b"\0", "more behind"),
        (lambda: b"\xc1" * 20, "damaged"),
        (lambda: [1, 2], "a list, not a map"),
        (lambda: {"a": 1}, "no arrays of a model"),
        (lambda: {7: {}}, "damaged"),
        (lambda: _with(_array((6,), "float32", bytes(20))), "not those of its shape"),
        (lambda: _with(_array((5,), "object", bytes(40))), "of type object"),
        (lambda: _with(_array((5,), "no_such", bytes(20))), "of type no_such"),
        (lambda: _with(_array((-5,), "float32", b"")), "an array of shape"),
        (lambda: _with(_array((1,) * 9, "float32", bytes(4))), "9 axes"),
        (lambda: _with(msgpack.ExtType(1, b"\xc1")), "damaged"),
        (lambda: _with(_array(5, "float32", bytes(20))), "damaged"),
        (lambda: _with(None), "head_bias  found False"),
        (lambda: _with({"__msgpack_chunked_array__": True}), "damaged"),
    ],
)
def test_damaged_file_is_refused(content: Any, text: str, tmp_path: Path) -> None:
    folder = saved(content(), tmp_path / "hub")
    with pytest.raises(ConversionError, match=text):
        converters.convert(folder, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
