"""A damaged archive is refused, whichever bit of whichever member it is."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load_file

from converters import ConversionError, convert, inspect
from tests.converters.cases import CASES, write_canonical
from tests.fill import fill_weights

CONFIG = CASES["classes"]
ARRAYS = fill_weights(CONFIG)


def members(path):
    """Name, position and size of the bytes of every member."""
    found = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for info in archive.infolist():
            file.seek(info.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
            start = info.header_offset + 30 + name + extra
            found[info.filename] = start, info.compress_size
    return found


def flip(path, place, bit=0x10):
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    damaged = path.with_name(f"damaged{''.join(path.suffixes)}")
    damaged.write_bytes(content)
    return damaged


def torch_zip(path, wrap=lambda weights: {"model": weights, "epoch": 3}):
    import torch

    torch.save(wrap({k: torch.tensor(v) for k, v in ARRAYS.items()}), path)
    return path


def keras(path):
    source = write_canonical(path.with_name("a.safetensors"), CONFIG)
    convert(source, path, verify="weights")
    return path


def torchscript(path):
    import torch

    from tests.dialects.test_torch_containers import Holder

    model = Holder({k: torch.tensor(v) for k, v in ARRAYS.items()}).eval()
    torch.jit.save(torch.jit.script(model), path)
    return path


def exported(path):
    import torch

    from tests.dialects.test_torch_containers import Holder

    model = Holder({k: torch.tensor(v) for k, v in ARRAYS.items()}).eval()
    program = torch.export.export(model, (torch.ones(2, CONFIG.embed_dim),))
    torch.export.save(program, path)
    return path


READ = {
    # what of each archive is read; the rest is code, graphs and marks
    (torch_zip, "m.pth"): ("data.pkl", "data/", "byteorder"),
    (torchscript, "m.pt"): ("data.pkl", "data/", "byteorder"),
    (exported, "m.pt2"): ("data/weights/", "byteorder", "archive_format"),
    (keras, "m.keras"): ("",),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", READ, ids=lambda case: case[1])
def test_a_flipped_bit_in_any_member_is_seen(case, tmp_path):
    make, name = case
    path = make(tmp_path / name)
    parts = READ[case]
    rng = np.random.default_rng(0)
    out = tmp_path / "out.safetensors"
    seen = 0
    for member, (start, size) in members(path).items():
        if not size:
            continue
        read = member.removeprefix("m/").startswith(parts)
        places = {int(rng.integers(size))}
        if "data/" not in member:
            places |= {0, size - 1}
        for place in sorted(places) if read else [size // 2]:
            damaged = flip(path, start + place, 1 << int(rng.integers(8)))
            if not read:
                convert(damaged, out, config=CONFIG, verify="none", force=True)
                assert same(load_file(out))
                continue
            seen += 1
            try:
                convert(damaged, out, config=CONFIG, verify="none", force=True)
            except ConversionError as error:
                said = str(error)
                assert "damaged" in said or "digest" in said, (member, place, said)
                assert "damaged: 1 problem" not in said
                continue
            # HDF5 has bytes that nothing uses: then all values were right.
            assert member == "model.weights.h5" and same(load_file(out)), (
                member,
                place,
            )
    assert seen > 6


def same(found):
    return found.keys() == ARRAYS.keys() and all(
        found[name].tobytes() == values.tobytes() for name, values in ARRAYS.items()
    )


def test_the_damaged_member_is_named(tmp_path):
    path = torch_zip(tmp_path / "m.pth")
    start, _ = members(path)["m/data/3"]
    damaged = flip(path, start + 1)
    with pytest.raises(ConversionError, match='entry "m/data/3" is damaged: its CRC'):
        convert(damaged, tmp_path / "out.safetensors", config=CONFIG)
    assert not (tmp_path / "out.safetensors").exists()
    path = keras(tmp_path / "m.keras")
    text = path.read_bytes()
    place = text.index(b"1e-06")
    assert text[place : place + 5] == b"1e-06"
    damaged = flip(path, place + 4, ord("6") ^ ord("2"))
    assert b"1e-02" in damaged.read_bytes()
    with pytest.raises(ConversionError, match=r"member config.json is damaged"):
        inspect(damaged)


def test_keras_weights_without_digests_are_held_to_the_checksum(tmp_path):
    import h5py

    path = keras(tmp_path / "m.keras")
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO(entries["model.weights.h5"])
    with h5py.File(stream, "a") as h5:
        del h5["layers/weights_guard"]
        place = h5["blocks/block/mlp/fc1/vars/0"].id.get_offset()
    entries["model.weights.h5"] = stream.getvalue()
    plain = tmp_path / "plain.keras"
    with zipfile.ZipFile(plain, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    out = tmp_path / "out.safetensors"
    convert(plain, out)
    assert same(load_file(out))
    start, _ = members(plain)["model.weights.h5"]
    with pytest.raises(ConversionError, match=r"member model.weights.h5 is damaged"):
        convert(flip(plain, start + place), out, force=True)


def npz(path, **options):
    save = np.savez_compressed if options.get("packed") else np.savez
    save(path, **{"a/kernel": np.arange(600.0), "b/encoderblock/x": np.ones((3, 40))})
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_a_flipped_bit_of_an_array_is_seen(packed, tmp_path):
    from converters.files.npz_file import NpzFile

    path = npz(tmp_path / "m.npz", packed=packed)
    with NpzFile(path) as file:
        values = {name: file.read(name).tobytes() for name in file.tensors}
    refused = 0
    for start, size in members(path).values():
        for place in range(0, size, max(size // 40, 1)):
            try:
                with NpzFile(flip(path, start + place)) as file:
                    found = {name: file.read(name).tobytes() for name in values}
            except ConversionError:
                refused += 1
            else:  # compressed data has bits that say nothing
                assert packed and found == values
    assert refused > 70


def test_whole_arrays_are_read_without_a_seek(tmp_path, monkeypatch):
    """From Python 3.12 on, zipfile compares no checksum after a seek."""
    from converters.files.npz_file import NpzFile

    with NpzFile(npz(tmp_path / "m.npz")) as file:
        monkeypatch.delattr(zipfile.ZipExtFile, "seek")
        assert file.read("a/kernel")[-1] == 599


def test_without_checksums_that_is_said_and_the_file_is_read(tmp_path):
    import torch

    out = tmp_path / "out.safetensors"
    torch.serialization.set_crc32_options(False)
    try:
        path = torch_zip(tmp_path / "m.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    report = convert(path, out, config=CONFIG)
    assert same(load_file(out))
    assert "checksums    none: it was saved with torch.serialization" in str(report)
    assert json.loads(report.to_json())["unchecked"]
    assert "checksums" in str(inspect(path))
    report = convert(torch_zip(tmp_path / "n.pth"), out, config=CONFIG, force=True)
    assert "checksums" not in str(report)


def test_one_missing_checksum_is_a_wrong_one(tmp_path):
    path = torch_zip(tmp_path / "m.pth")
    with zipfile.ZipFile(path) as archive:
        crc = struct.pack("<I", archive.getinfo("m/data/3").CRC)
    content = path.read_bytes()
    place = content.rindex(crc)  # in the central directory
    path.write_bytes(content[:place] + b"\0\0\0\0" + content[place + 4 :])
    with pytest.raises(ConversionError, match=r"data/3.* is damaged"):
        convert(path, tmp_path / "out.safetensors", config=CONFIG)


def test_a_part_of_a_storage_is_read_after_all_of_it_was_checked(tmp_path):
    import torch

    from converters.files.torch_file import TorchFile

    path = tmp_path / "m.pth"
    whole = torch.arange(1000.0)
    torch.save({"a": whole[:5], "b": whole[990:]}, path)
    with TorchFile(path) as file:
        assert file.read("b").tolist() == list(range(990, 1000))
    start, _ = members(path)["m/data/0"]
    with TorchFile(flip(path, start + 2000)) as file, pytest.raises(ConversionError):
        file.read("a")


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_cut_files_are_refused(cut, tmp_path):
    import torch

    for old in (False, True):
        path = tmp_path / "m.pth"
        weights = {k: torch.tensor(v) for k, v in ARRAYS.items()}
        torch.save(weights, path, _use_new_zipfile_serialization=not old)
        path.write_bytes(path.read_bytes()[:-cut])
        with pytest.raises(ConversionError):
            convert(path, tmp_path / "out.safetensors", config=CONFIG)
        assert not (tmp_path / "out.safetensors").exists()
