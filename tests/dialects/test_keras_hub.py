"""keras-hub presets: golden ones that it wrote, and what must be refused."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

from converters import ConversionError, convert, inspect
from converters.libraries.keras_hub import config as keras_hub_config
from tests.converters.cases import config, files_in, weights, write_canonical
from tests.dialects.common import same
from vit_config import ConfigError, ViTConfig

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "keras_hub"


def preset(name: str, folder: Path) -> Path:
    """A golden preset, unpacked."""
    folder.mkdir()
    for path in (GOLDEN / name).iterdir():
        if path.suffix == ".gz":
            (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        elif path.suffix == ".json" and path.stem != "versions":
            shutil.copy(path, folder / path.name)
    return folder


@pytest.mark.parametrize("name", ["backbone", "classifier"])
def test_golden_outputs(name, tmp_path):
    """The torch twin says what keras-hub said, and the preset comes back bit by bit."""
    torch = pytest.importorskip("torch")
    import torch_vit

    source = preset(name, tmp_path / "preset")
    twin = torch_vit.ViT.from_pretrained(source).double().eval()
    with np.load(GOLDEN / name / "outputs.npz") as golden:
        images, outputs = golden["images"], golden["outputs"]
    x = torch.from_numpy(np.moveaxis(images, -1, 1).copy()).double()
    with torch.no_grad():
        ours = twin(x).numpy()
    assert ours.shape == outputs.shape and outputs.std() > 0.1
    np.testing.assert_allclose(ours, outputs, atol=2e-6, rtol=0)
    convert(source, tmp_path / "b.safetensors")
    convert(tmp_path / "b.safetensors", tmp_path / "back", to_dialect="keras_hub")
    for file in ("model.weights.h5", "task.weights.h5"):
        if (source / file).exists():
            assert datasets(tmp_path / "back" / file) == datasets(source / file)


def datasets(path: Path) -> dict[str, bytes]:
    """Every weight by its place, and the name noted beside it."""
    found: dict[str, bytes] = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer"):
            noted = item.parent.attrs["name"]
            found[f"{name} of {noted}"] = item[()].tobytes()

    with h5py.File(path) as h5:
        h5.visititems(visit)
    return found


def test_what_the_configs_say(tmp_path):
    found = inspect(preset("classifier", tmp_path / "a")).config
    assert found.norm_eps == 1e-2 and found.act_layer == "gelu"
    assert (found.qkv_bias, found.proj_bias, found.mlp_bias) == (False, False, True)
    assert found.global_pool == "avg" and found.pool_include_prefix
    assert (found.representation_size, found.head_act) == (5, "tanh")
    assert (found.drop_rate, found.pos_drop_rate, found.proj_drop_rate) == (
        0.2,
        0.1,
        0.1,
    )
    assert found.data.mean == found.data.std == (0.5, 0.5)
    found = inspect(preset("backbone", tmp_path / "b")).config
    assert not (found.class_token or found.patch_bias or found.mlp_bias)
    assert found.global_pool == "none" and found.num_classes == 0


MODELS = {
    "token": config(num_classes=5, norm_eps=1e-5),
    "gap": config(
        num_classes=3,
        global_pool="avg",
        pool_include_prefix=True,
        qkv_bias=False,
        proj_bias=False,
        head_act="tanh",
    ),
    "no_class": config(
        class_token=False, global_pool="avg", num_classes=2, representation_size=6
    ),
    "tokens": config(global_pool="none", mlp_bias=False, patch_bias=False),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name, dtype, tmp_path):
    given = MODELS[name]
    source = tmp_path / "a.safetensors"
    write_canonical(source, given, weights(given, dtype))
    there = convert(source, tmp_path / "preset", to_dialect="keras_hub")
    assert there.ok and there.proved == there.tensors
    back = convert(tmp_path / "preset", tmp_path / "b.safetensors")
    assert same(load_file(tmp_path / "b.safetensors"), load_file(source))
    assert back.config.architecture() == given.architecture()
    files = {"config.json", "metadata.json", "model.weights.h5"}
    task = {"task.json", "task.weights.h5"} if given.num_classes else set()
    assert set(files_in(tmp_path / "preset")) == files | task
    before = {p.name: p.read_bytes() for p in (tmp_path / "preset").iterdir()}
    convert(source, tmp_path / "preset", to_dialect="keras_hub", force=True)
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "preset").iterdir()}


SIZED = {"image_size": [12, 8]}


def test_converter_is_read_with_the_librarys_defaults() -> None:
    """`x + offset`, on pixels from 0 to 255, after a crop to the aspect ratio."""
    data = keras_hub_config.read_data({**SIZED, "offset": [-51.0, 102.0, 0.0]}, 3)
    assert data["crop_mode"] == "center" and data["input_range"] == (0.0, 1.0)
    assert data["interpolation"] == "bilinear"
    pixel = 127.5
    found = [
        (pixel / 255 - m) / s for m, s in zip(data["mean"], data["std"], strict=True)
    ]
    assert found == pytest.approx([pixel - 51, pixel + 102, pixel])
    squashed = keras_hub_config.read_data({**SIZED, "crop_to_aspect_ratio": False}, 3)
    assert squashed["crop_mode"] == "squash" and "crop_pct" not in squashed


def test_pixels_as_they_are_are_said_to_be_so() -> None:
    """Neither scale nor offset: the network takes 0 to 255."""
    data = keras_hub_config.read_data({}, 2)
    assert "crop_mode" not in data and "interpolation" not in data  # of no resizing
    image = 201 / 255  # in `input_range`
    assert data["input_range"] == (0.0, 1.0)
    for mean, std in zip(data["mean"], data["std"], strict=True):
        assert (image - mean) / std == pytest.approx(201)


def test_lanczos_of_three_lobes_has_a_name() -> None:
    data = keras_hub_config.read_data({**SIZED, "interpolation": "lanczos3"}, 3)
    assert data["interpolation"] == "lanczos"


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"act_layer": "gelu_tanh"}, "act_layer"),
        ({"global_pool": "token"}, "global_pool"),
        ({"reg_tokens": 1}, "reg_tokens"),
        ({"init_values": 0.1}, "init_values"),
        ({"fc_norm": True, "num_classes": 2, "global_pool": "token"}, "fc_norm"),
        ({"num_classes": 2, "global_pool": "avg"}, "pool_include_prefix"),
        ({"num_classes": 2, "global_pool": "max"}, "global_pool"),
        ({"head_dim": 16}, "head_dim"),
        ({"drop_path_rate": 0.1}, "drop_path_rate"),
        ({"pos_drop_rate": 0.1}, "pos_drop_rate"),
        (
            {"spatial_dims": 3, "img_size": (8, 8, 8), "patch_size": (4, 4, 4)},
            "spatial_dims",
        ),
    ],
)
def test_what_keras_hub_cannot_hold(changes, field, tmp_path):
    given = ViTConfig(**{**config(global_pool="none").to_dict(), **changes})
    write_canonical(tmp_path / "a.safetensors", given)
    with pytest.raises(ConversionError) as error:
        convert(tmp_path / "a.safetensors", tmp_path / "b", to_dialect="keras_hub")
    assert field in str(error.value)
    assert files_in(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize(
    "changes",
    [{"qkv_bias": "qv"}, {"qkv_bias": False}, {"pos_embed_tokens": "patch"}],
)
def test_what_is_folded(changes, tmp_path):
    """Zeros in place of what keras-hub has and the model has not."""
    torch = pytest.importorskip("torch")
    import torch_vit

    given = config(global_pool="none", **changes)
    write_canonical(tmp_path / "a.safetensors", given)
    report = convert(tmp_path / "a.safetensors", tmp_path / "b", to_dialect="keras_hub")
    assert len(report.steps) == 1
    x = torch.ones(1, 3, 12, 8)
    one, other = (
        torch_vit.ViT.from_pretrained(tmp_path / name).eval()(x)
        for name in ("a.safetensors", "b")
    )
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def edit(path: Path, *keys: str, value: object) -> None:
    """Sets one field of a JSON file."""
    found = json.loads(path.read_text())
    inner = found
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(found))


@pytest.mark.parametrize(
    "file, key, value",
    [
        ("config.json", "hidden_act", "relu"),
        ("config.json", "image_shape", [12, 8]),
        ("config.json", "use_mha_bias", "yes"),
        ("config.json", "layer_norm_epsilon", None),
        ("config.json", "dtype", {"class_name": "QuantizedDTypePolicy"}),
        ("task.json", "pooling", "max"),
        ("task.json", "activation", "softmax"),
        ("task.json", "head_dtype", "float16"),
        ("task.json", "number", 1),
        ("task.json", "backbone", {"config": {}}),
        ("image_converter.json", "scale", [1.0]),
        ("image_converter.json", "scale", [0.0, 1.0]),
        ("image_converter.json", "interpolation", "lanczos5"),
        ("image_converter.json", "image_size", [12, 12]),
        ("image_converter.json", "variance", [0.2, 0.3]),
        ("image_converter.json", "pad_to_aspect_ratio", True),
    ],
)
def test_every_field_is_read(file, key, value, tmp_path):
    source = preset("classifier", tmp_path / "a")
    edit(source / file, "config", key, value=value)
    with pytest.raises(ConfigError, match=key):
        convert(source, tmp_path / "b.keras")
    assert files_in(tmp_path) == ["a"]


def test_other_presets(tmp_path):
    source = preset("backbone", tmp_path / "a")
    edit(source / "config.json", "registered_name", value="keras_hub>DeiTBackbone")
    with pytest.raises(ConversionError, match="DeiTBackbone"):
        convert(source, tmp_path / "b.keras")
    with pytest.raises(ConversionError, match="a preset; name one without a suffix"):
        convert(source, tmp_path / "b.safetensors", to_dialect="keras_hub")
    with pytest.raises(ConversionError, match="in one file"):
        convert(source, tmp_path / "b", to_dialect="keras_hub", max_shard_size="1MB")


def _swap(h5):
    first = h5["layers/vi_t_encoder/encoder_layers/vi_t_encoder_block/vars"]
    first.attrs["name"] = "transformer_block_2"


def _extra(h5):
    h5["layers/vi_t_encoder/encoder_layers/vi_t_encoder_block_2/mlp/vars/0"] = [1.0]


def _gone(h5):
    del h5["layers/vi_t_encoder/layer_norm/vars/1"]


def _integers(h5):
    name = "layers/vi_t_encoder/layer_norm/vars/1"
    del h5[name]
    h5[name] = np.zeros(8, np.int8)


def _nan(h5):
    h5["layers/vi_t_encoder/layer_norm/vars/1"][3] = np.nan


def _link(h5):
    h5["layers/other"] = h5py.SoftLink("/layers/vi_t_encoder")


@pytest.mark.parametrize(
    "change, text",
    [
        (_swap, "there is no .*vi_t_encoder_block_0"),
        (_extra, "vi_t_encoder_block_2/mlp"),
        (_gone, "vi_t_encoder/layer_norm/vars/1"),
        (_integers, "quantised"),
        (_nan, "1 NaN"),
        (_link, "a link"),
    ],
)
def test_odd_weights(change, text, tmp_path):
    source = preset("backbone", tmp_path / "a")
    with h5py.File(source / "model.weights.h5", "r+") as h5:
        change(h5)
    with pytest.raises(ConversionError, match=text):
        convert(source, tmp_path / "b.keras")
    assert files_in(tmp_path) == ["a"]


# ---- keras-hub itself ---------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.parametrize("name", MODELS)
def test_keras_hub_loads_what_is_written(name, tmp_path):
    """Its outputs are those of the torch twin, whose weights were written."""
    torch = pytest.importorskip("torch")
    keras_hub = pytest.importorskip("keras_hub")
    import torch_vit

    given = MODELS[name]
    write_canonical(tmp_path / "a.safetensors", given)
    convert(tmp_path / "a.safetensors", tmp_path / "preset", to_dialect="keras_hub")
    kind = "ViTImageClassifier" if given.num_classes else "ViTBackbone"
    model = getattr(keras_hub.models, kind).from_preset(str(tmp_path / "preset"))
    twin = torch_vit.ViT.from_pretrained(tmp_path / "a.safetensors").double().eval()
    rng = np.random.default_rng(2)
    images = rng.standard_normal((4, *given.img_size, given.in_chans), np.float32)
    theirs = np.asarray(model(images, training=False))
    with torch.no_grad():
        x = torch.from_numpy(np.moveaxis(images, -1, 1).copy()).double()
        ours = twin(x).numpy()
    assert theirs.std() > 1e-2
    np.testing.assert_allclose(theirs, ours, atol=3e-6 * np.abs(ours).max(), rtol=0)
    model.save_to_preset(str(tmp_path / "again"))
    convert(tmp_path / "again", tmp_path / "b.safetensors")
    assert same(
        load_file(tmp_path / "b.safetensors"), load_file(tmp_path / "a.safetensors")
    )
