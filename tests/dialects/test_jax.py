"""Flax' `.npz` files: read without pickle, block by block, and nothing odd let in."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from converters import ConversionError, convert, inspect
from converters.files.npz_file import NpzFile
from tests.dialects.common import same
from tests.fill import fill_weights
from tools.state_dict_jax import JAX_MODELS, arrays_of
from vit_config import ViTConfig

MODELS = {model.name: model for model in JAX_MODELS}
SIZE = {"img_size": 24}  # all that these files do not say


def config_of(name: str) -> ViTConfig:
    fields = MODELS[name].fields
    return ViTConfig(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    )


def arrays(name: str, scan: bool = False) -> dict[str, np.ndarray]:
    config, model = config_of(name), MODELS[name]
    found = arrays_of(config, model.kind)
    if scan:
        inner = {n.split("/", 2)[2] for n in found if "/encoderblock_0/" in n}
        for tail in inner:
            blocks = [
                found.pop(f"Transformer/encoderblock_{i}/{tail}")
                for i in range(config.depth)
            ]
            found[f"Transformer/encoderblock/{tail}"] = np.stack(blocks)
    return {model.prefix + n: values for n, values in found.items()}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_arrives(name, scan, save, tmp_path):
    save(tmp_path / "a.npz", **arrays(name, scan))
    out = tmp_path / "b.safetensors"
    report = convert(tmp_path / "a.npz", out, changes=SIZE)
    assert same(load_file(out), fill_weights(config_of(name)))
    wanted = config_of(name).replace(pos_resize="zoom1", weight_init="jax")
    assert report.config.architecture() == wanted.architecture()
    assert report.source_format == "npz" and not report.dropped


def test_what_the_file_does_not_say(tmp_path):
    np.savez(tmp_path / "a.npz", **arrays("augreg"))
    with pytest.raises(ConversionError, match="img_size is not in this file"):
        convert(tmp_path / "a.npz", tmp_path / "b.keras")
    with pytest.raises(ConversionError, match="act_layer"):
        convert(
            tmp_path / "a.npz",
            tmp_path / "b.keras",
            changes={**SIZE, "act_layer": "gelu"},
        )
    assert inspect(tmp_path / "a.npz").format == "npz"


def test_training_and_other_towers_are_left_out(tmp_path):
    odd = np.ones(3, np.float32)
    more = {"opt/0/mu": odd, "chrono/time": odd, "params/txt/Embed_0": odd}
    more |= {"params/t": odd[:1], "params/b": odd[:1]}
    np.savez(tmp_path / "a.npz", **arrays("big_vision-map"), **more)
    report = convert(tmp_path / "a.npz", tmp_path / "b.keras", changes=SIZE)
    assert sorted(report.dropped) == sorted(more)
    np.savez(tmp_path / "c.npz", **arrays("big_vision-map"), **{"params/temp": odd})
    with pytest.raises(ConversionError, match="params/temp"):
        convert(tmp_path / "c.npz", tmp_path / "d.keras", changes=SIZE)
    more = {"opt/state/step": odd}
    np.savez(tmp_path / "e.npz", **arrays("vit_jax-target"), **more)
    report = convert(tmp_path / "e.npz", tmp_path / "e.keras", changes=SIZE)
    assert list(report.dropped) == list(more)


def test_positions_that_are_computed(tmp_path):
    given = arrays("big_vision-gap")
    del given["params/pos_embedding"]
    np.savez(tmp_path / "a.npz", **given)
    changes = {"img_size": (16, 32)}
    out = tmp_path / "b.safetensors"
    report = convert(tmp_path / "a.npz", out, changes=changes)
    assert report.config.pos_embed == "sincos" and report.computed
    y, x = np.mgrid[:2, :4]
    omega = 10000.0 ** -(np.arange(6) / 5)
    y, x = (np.outer(place.ravel(), omega) for place in (y, x))
    wanted = np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], 1)
    np.testing.assert_allclose(load_file(out)["pos_embed"][0], wanted, atol=1e-6)


# ---- types and layouts --------------------------------------------------------------


def one(path: Path, **named: np.ndarray) -> NpzFile:
    np.savez(path / "a.npz", **named)
    return NpzFile(path / "a.npz")


def test_bfloat16_of_big_vision(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3).astype(ml_dtypes.bfloat16)
    plain = values.view("V2")
    stacked = {"T/encoderblock/x": plain}
    with one(tmp_path, a=plain, **stacked) as file:
        assert file.tensors["a"].dtype == "bfloat16"
        assert file.read("a").tobytes() == values.tobytes()
        assert file.read("T/encoderblock_1/x").tolist() == [3, 4, 5]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
def test_orders_of_bytes_and_axes(order, dtype, tmp_path):
    values = np.arange(24).reshape(2, 3, 4).astype(dtype, order=order)
    with one(tmp_path, a=values, **{"x/encoderblock/y": values}) as file:
        assert file.read("a").flags.c_contiguous
        np.testing.assert_array_equal(file.read("a"), values)
        for i in range(2):
            np.testing.assert_array_equal(file.read(f"x/encoderblock_{i}/y"), values[i])


def test_scalars_and_single_blocks(tmp_path):
    given = {"step": np.float32(3), "a/encoderblock/b": np.ones((1, 2), "f4")}
    with one(tmp_path, **given) as file:
        assert file.read("step").shape == ()
        assert file.read("a/encoderblock_0/b").shape == (2,)


# ---- what is refused ----------------------------------------------------------------


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values)
    return buffer.getvalue()


def archive(path: Path, *entries: tuple[str, bytes], **options) -> Path:
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, data in entries:
            file.writestr(name, data)
    return path


GOOD = npy(np.ones((2, 2), np.float32))
HEADER = b"\x93NUMPY\x01\x00"


def headed(text: str, data: bytes = b"") -> bytes:
    return HEADER + len(text).to_bytes(2, "little") + text.encode() + data


BAD = {
    "no array": (b"hello", "no array"),
    "another header": (headed("{'descr': '<f4'}"), "another header"),
    "no literal": (headed("__import__('os').getpid()"), "no array"),
    "negative": (
        headed("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"),
        "no array of numbers",
    ),
    "structured": (
        headed("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}"),
        "no array of numbers",
    ),
    "too short": (
        headed("{'descr': '<f4', 'fortran_order': False, 'shape': (9,)}", b"1234"),
        "announces 36 bytes and has 4",
    ),
    "too long": (GOOD + b"more", "announces 16 bytes and has 20"),
    "huge": (
        headed("{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000,)}"),
        "announces 16000000000",
    ),
    "text": (npy(np.array(["a"])), "of type"),
    "complex": (npy(np.ones(2, np.complex64)), "of type"),
    "many axes": (npy(np.ones((1,) * 9, np.float32)), "9 axes"),
    "future": (b"\x93NUMPY\x09\x00" + GOOD[8:], "version"),
}


@pytest.mark.parametrize("case", BAD)
def test_odd_arrays(case, tmp_path):
    data, text = BAD[case]
    path = archive(tmp_path / "a.npz", ("x.npy", data))
    with pytest.raises(ConversionError, match=text) as error:
        NpzFile(path)
    assert '"x"' in str(error.value)


class Touch:
    def __reduce__(self):
        return (open, ("touched", "w"))


def test_pickles_are_never_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = np.array([Touch()], dtype=object)
    path = archive(
        tmp_path / "a.npz",
        (
            "x.npy",
            headed("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}")
            + pickle.dumps(given),
        ),
    )
    with pytest.raises(ConversionError, match="pickled objects, which are never"):
        convert(path, tmp_path / "b.keras", changes=SIZE)
    assert not Path("touched").exists()


@pytest.mark.parametrize(
    "name, text",
    [
        ("x.txt", "no .npy"),
        ("../x.npy", "a path"),
        ("/x.npy", "a path"),
        ("a\\b.npy", "a path"),
        ("x\n.npy", "name"),
    ],
)
def test_odd_names(name, text, tmp_path):
    with pytest.raises(ConversionError, match=text):
        NpzFile(archive(tmp_path / "a.npz", ("good.npy", GOOD), (name, GOOD)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_twice(tmp_path):
    path = archive(tmp_path / "a.npz", ("x.npy", GOOD), ("x.npy", GOOD))
    with pytest.raises(ConversionError, match="stands twice"):
        NpzFile(path)
    names = ("t/encoderblock/x.npy", GOOD), ("t/encoderblock_1/x.npy", GOOD)
    with pytest.raises(ConversionError, match="scanned and alone"):
        NpzFile(archive(tmp_path / "b.npz", *names))


def test_bombs(tmp_path):
    zeros = npy(np.zeros(20 << 18, np.float32))
    path = archive(
        tmp_path / "a.npz", ("x.npy", zeros), compression=zipfile.ZIP_DEFLATED
    )
    assert path.stat().st_size < 100_000
    with pytest.raises(ConversionError, match="a bomb"):
        NpzFile(path)


def test_other_archives(tmp_path):
    with pytest.raises(ConversionError, match="does not know"):
        NpzFile(archive(tmp_path / "a.npz", ("x.npy", GOOD), compression=12))
    with pytest.raises(ConversionError, match="an empty zip archive"):
        NpzFile(archive(tmp_path / "none.npz"))
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ConversionError, match="does not begin like one"):
        NpzFile(tmp_path / "text.npz")
    locked = bytearray(archive(tmp_path / "c.npz", ("x.npy", GOOD)).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.find(signature) + offset] |= 1
    (tmp_path / "c.npz").write_bytes(locked)
    with pytest.raises(ConversionError, match="encrypted"):
        NpzFile(tmp_path / "c.npz")


@pytest.mark.parametrize("scan", [False, True])
def test_damage_is_noticed(scan, tmp_path):
    path = tmp_path / "a.npz"
    values = np.arange(1000, dtype=np.float32).reshape(10, 100)
    name = "t/encoderblock/x" if scan else "x"
    np.savez(path, **{name: values})
    data = bytearray(path.read_bytes())
    where = data.find(np.float32(777).tobytes())
    data[where] ^= 1
    path.write_bytes(data)
    with NpzFile(path) as file, pytest.raises(ConversionError, match="CRC"):
        file.read("t/encoderblock_2/x" if scan else "x")
    path.write_bytes(data[:-100])
    with pytest.raises(ConversionError, match="broken"):
        NpzFile(path)


# ---- against timm -------------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.parametrize(
    "name, scan",
    [
        (name, scan)
        for name, model in MODELS.items()
        for scan in (False, True)[: 1 + (model.kind == "big_vision")]
        if model.timm is not None
    ],
)
def test_timm_reads_the_same_model(name, scan, tmp_path):
    """timm's own loader on the same file: its weights and its outputs are ours."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm", exc_type=ImportError)
    from timm.models.vision_transformer import VisionTransformer

    import torch_vit

    path = tmp_path / "a.npz"
    np.savez(path, **arrays(name, scan))
    model = VisionTransformer(
        img_size=24,
        patch_size=8,
        embed_dim=24,
        depth=2,
        num_heads=3,
        mlp_ratio=1.5,
        num_classes=5,
        act_layer="gelu_tanh",
        **MODELS[name].timm,
    ).eval()
    model.load_pretrained(str(path))
    convert(path, tmp_path / "b.safetensors", changes=SIZE)
    twin = torch_vit.ViT.from_pretrained(tmp_path / "b.safetensors").eval()
    theirs, ours = model.state_dict(), twin.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key], ours[key]) for key in ours)
    x = torch.from_numpy(np.random.default_rng(5).standard_normal((3, 3, 24, 24), "f4"))
    with torch.no_grad():
        torch.testing.assert_close(twin(x), model(x), rtol=1e-5, atol=1e-6)
