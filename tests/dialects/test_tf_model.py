"""`tf_model.h5` of transformers 4: golden files it wrote, and what must be refused."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from converters import ConversionError, convert, inspect
from tests.converters.cases import files_in

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "tf_model"
MODELS = sorted(path.name for path in GOLDEN.iterdir())
SAID = {
    "vit": (1e-2, "gelu_tanh", 3, "token"),
    "vit_bare": (1e-12, "gelu", 0, "none"),
    "deit": (1e-12, "relu", 4, "token"),
    "deit_teacher": (1e-12, "gelu", 3, "token"),
}


def unpacked(name: str, folder: Path) -> Path:
    folder.mkdir()
    data = (GOLDEN / name / "tf_model.h5.gz").read_bytes()
    (folder / "tf_model.h5").write_bytes(gzip.decompress(data))
    shutil.copy(GOLDEN / name / "config.json", folder)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_golden_outputs(name, tmp_path):
    """The torch twin says what the TensorFlow model said."""
    torch = pytest.importorskip("torch")
    import torch_vit

    source = unpacked(name, tmp_path / "tf")
    twin = torch_vit.ViT.from_pretrained(source).double().eval()
    with np.load(GOLDEN / name / "outputs.npz") as golden:
        images, outputs = golden["images"], golden["outputs"]
    with torch.no_grad():
        ours = twin(torch.from_numpy(images).double()).numpy()
    assert ours.shape == outputs.shape and outputs.std() > 0.1
    np.testing.assert_allclose(ours, outputs, atol=5e-6, rtol=0)
    found = twin.config
    assert SAID[name] == (
        *(found.norm_eps, found.act_layer),
        *(found.num_classes, found.global_pool),
    )
    assert found.dist_token == name.startswith("deit")
    assert found.distilled == (name == "deit_teacher")


def test_to_keras_and_to_pytorch_names(tmp_path):
    source = unpacked("vit", tmp_path / "tf")
    report = convert(source, tmp_path / "a.keras")
    assert report.source_dialect == "huggingface@vit+tf"
    assert report.source_format == "tf_model.h5" and not report.dropped
    convert(tmp_path / "a.keras", tmp_path / "b", to_dialect="huggingface")
    assert "model.safetensors" in files_in(tmp_path / "b")
    back = convert(tmp_path / "b", tmp_path / "c.keras")
    assert back.fingerprint == report.fingerprint


def test_pooler_is_dropped_by_rule(tmp_path):
    report = convert(unpacked("vit_bare", tmp_path / "tf"), tmp_path / "a.keras")
    assert sorted(report.dropped) == [
        f"vit/pooler/dense/{n}" for n in ("bias", "kernel")
    ]


def test_the_file_alone_and_what_it_does_not_say(tmp_path):
    source = unpacked("deit", tmp_path / "tf") / "tf_model.h5"
    with pytest.raises(ConversionError, match="num_heads, img_size, norm_eps and act"):
        convert(source, tmp_path / "a.keras")
    config = json.loads((source.parent / "config.json").read_text())
    assert convert(source, tmp_path / "a.keras", config=config).ok
    assert inspect(source).dialect.startswith("huggingface@deit")


def renamed(path: Path, start: str) -> None:
    """The same file, every name with another start."""
    with h5py.File(path, "r+") as h5:
        for layer in h5.attrs["layer_names"]:
            group = h5[layer]
            names = list(group.attrs["weight_names"])
            arrays = {name: group[name][()] for name in names}
            for key in list(group):
                del group[key]
            for name, array in arrays.items():
                group[start + name] = array
            group.attrs["weight_names"] = [start + name for name in names]


def test_names_of_a_model_called_before_it_was_built(tmp_path):
    one, other = (unpacked("deit", tmp_path / n) for n in ("a", "b"))
    renamed(other / "tf_model.h5", "tf_dei_t_for_image_classification/")
    first = convert(one, tmp_path / "a.safetensors")
    second = convert(other, tmp_path / "b.safetensors")
    assert first.fingerprint == second.fingerprint


def _unlisted(h5):
    h5["deit/deit/extra:0"] = np.ones(3, np.float32)


def _unfinished(h5):
    del h5["deit/deit/layernorm/beta:0"]


def _keras3(h5):
    del h5.attrs["layer_names"]


def _extra(h5):
    _unlisted(h5)
    names = [*h5["deit"].attrs["weight_names"], "deit/extra:0"]
    h5["deit"].attrs["weight_names"] = names


def _twice(h5):
    h5["deit/tf_a/deit/layernorm/beta:0"] = np.ones(8, np.float32)
    names = [*h5["deit"].attrs["weight_names"], "tf_a/deit/layernorm/beta:0"]
    h5["deit"].attrs["weight_names"] = names


def _nan(h5):
    h5["deit/deit/layernorm/beta:0"][2] = np.nan


def _linked(h5):
    h5["deit/deit/other"] = h5py.ExternalLink("/etc/passwd", "/")


@pytest.mark.parametrize(
    "change, text",
    [
        (_unlisted, "listed by no layer"),
        (_unfinished, "listed, but not there"),
        (_keras3, "no weights that Keras 2 saved"),
        (_extra, "deit/extra"),
        (_twice, "stands twice"),
        (_nan, "1 NaN"),
        (_linked, "a link"),
    ],
)
def test_odd_files(change, text, tmp_path):
    source = unpacked("deit", tmp_path / "tf")
    with h5py.File(source / "tf_model.h5", "r+") as h5:
        change(h5)
    with pytest.raises(ConversionError, match=text):
        convert(source, tmp_path / "a.keras")
    assert files_in(tmp_path) == ["tf"]
