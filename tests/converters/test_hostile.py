"""Files from strangers: each is refused with one clear line, and nothing is written."""

from __future__ import annotations

import json
import os
import struct
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from converters import ConversionError, convert, inspect
from converters.files.safetensors_file import SafetensorsReader
from tests.converters.cases import CASES, files_in, write_canonical

CONFIG = CASES["classes"]


def safetensors_bytes(header, values=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + values


def entry(begin=0, end=8, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


EIGHT = b"\0" * 8
DOUBLE = (
    b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
    b'"%s":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
)

CONTAINERS = {
    "empty": (b"", "the file is empty"),
    "seven_bytes": (b"1234567", "header's length makes no sense"),
    "header_longer_than_file": (
        safetensors_bytes({}, length=99),
        "cut short: the header",
    ),
    "header_2_63": (safetensors_bytes({}, length=2**63), "length makes no sense"),
    "header_huge": (safetensors_bytes({}, length=10**9), "length makes no sense"),
    "not_utf8": (safetensors_bytes(b'{"\xff":1}'), "not UTF-8"),
    "utf16": (safetensors_bytes('{"a":1}'.encode("utf-16-le")), "not JSON"),
    "broken_json": (safetensors_bytes(b'{"a":'), "not JSON"),
    "array": (safetensors_bytes(b"[]"), "does not begin with {"),
    "deep_json": (safetensors_bytes(b'{"a":' + b"[" * 90_000), "nested too deeply"),
    "white_space_first": (safetensors_bytes(b' {"a":1}'), "does not begin with {"),
    "byte_order_mark": (safetensors_bytes(b"\xef\xbb\xbf{}"), "does not begin with {"),
    "nan": (safetensors_bytes(b'{"a":NaN}'), "NaN is not a number"),
    "huge_int": (safetensors_bytes(b'{"a":%s}' % (b"9" * 5000)), "not JSON"),
    "name_twice": (safetensors_bytes(DOUBLE % b"a", EIGHT), "'a' stands twice"),
    "name_twice_escaped": (
        safetensors_bytes(DOUBLE % b"\\u0061", EIGHT),
        "'a' stands twice",
    ),
    "overlap": (
        safetensors_bytes({"a": entry(), "b": entry(4, 12)}, b"\0" * 12),
        "overlaps the one before",
    ),
    "hole": (
        safetensors_bytes({"a": entry(), "b": entry(12, 20)}, b"\0" * 20),
        "follows a hole",
    ),
    "late_start": (
        safetensors_bytes({"a": entry(8, 16)}, b"\0" * 16),
        "follows a hole",
    ),
    "trailing": (
        safetensors_bytes({"a": entry()}, b"\0" * 9),
        "1 bytes after the last",
    ),
    "truncated": (safetensors_bytes({"a": entry()}, b"\0" * 7), "incomplete download"),
    "end_before_begin": (safetensors_bytes({"a": entry(8, 0)}, EIGHT), "data_offsets"),
    "overflow": (
        safetensors_bytes({"a": entry(shape=[2**62, 2**62])}, EIGHT),
        "is not [0, 8] bytes",
    ),
    "size_mismatch": (
        safetensors_bytes({"a": entry(shape=[3])}, EIGHT),
        "is not [0, 8] bytes",
    ),
    "unknown_type": (
        safetensors_bytes({"a": entry(dtype="F31")}, EIGHT),
        "unknown type",
    ),
    "type_is_a_list": (
        safetensors_bytes({"a": entry(dtype=["F32"])}, EIGHT),
        "unknown",
    ),
    "negative": (safetensors_bytes({"a": entry(shape=[-2])}, EIGHT), "natural numbers"),
    "float_shape": (safetensors_bytes({"a": entry(shape=[2.0])}, EIGHT), "natural"),
    "bool_shape": (
        safetensors_bytes({"a": entry(shape=[True, 2])}, EIGHT),
        "natural numbers",
    ),
    "rank": (safetensors_bytes({"a": entry(shape=[1] * 9 + [2])}, EIGHT), "10 axes"),
    "extra_field": (
        safetensors_bytes({"a": {**entry(), "x": 1}}, EIGHT),
        "fields ['data_offsets'",
    ),
    "missing_field": (
        safetensors_bytes({"a": {"dtype": "F32", "shape": [2]}}, EIGHT),
        "fields ['dtype', 'shape']",
    ),
    "entry_is_text": (safetensors_bytes({"a": "b"}, EIGHT), "not an object"),
    "metadata_number": (
        safetensors_bytes({"__metadata__": {"a": 1}, "a": entry()}, EIGHT),
        "texts to texts",
    ),
    "metadata_list": (
        safetensors_bytes({"__metadata__": [], "a": entry()}, EIGHT),
        "texts to texts",
    ),
    "no_tensors": (safetensors_bytes({}), "no tensors"),
    "many_tensors": (
        safetensors_bytes({f"t{i}": entry(0, 0, [0]) for i in range(20_001)}),
        "20001 tensors; at most",
    ),
    "empty_name": (safetensors_bytes({"": entry()}, EIGHT), "an empty name"),
    "nul_name": (safetensors_bytes({"a\0": entry()}, EIGHT), "control characters"),
    "ansi_name": (safetensors_bytes({"\x1b[2J": entry()}, EIGHT), "\\x1b[2J"),
    "path_name": (safetensors_bytes({"../a": entry()}, EIGHT), "a path, not a name"),
    "absolute_name": (safetensors_bytes({"/etc/a": entry()}, EIGHT), "a path"),
    "long_name": (safetensors_bytes({"a" * 999: entry()}, EIGHT), "999 characters"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
    "html": (b"\n<!DOCTYPE html><html>404</html>", "a web page"),
    "html_bom": (b"\xef\xbb\xbf<HTML>", "a web page"),
    "pickle": (b"\x80\x02}q\x00.........", "a Python pickle"),
    "zip": (b"PK\x03\x04" + b"\0" * 64, "a zip archive"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "an HDF5 file"),
    "newer_schema": (
        safetensors_bytes(
            {"__metadata__": {"vit_duet": '{"schema_version":99}'}, "a": entry()}, EIGHT
        ),
        "schema_version 99",
    ),
    "metadata_not_json": (
        safetensors_bytes({"__metadata__": {"vit_duet": "{"}, "a": entry()}, EIGHT),
        "metadata 'vit_duet'",
    ),
}


@pytest.mark.parametrize("case", CONTAINERS)
def test_hostile_safetensors_is_refused(case, tmp_path):
    content, text = CONTAINERS[case]
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConversionError) as error:
        convert(path, tmp_path / "y.keras", config=CONFIG)
    assert text in str(error.value)
    assert str(error.value).isprintable() or "\x1b" not in str(error.value)
    assert len(str(error.value).splitlines()) <= 4
    assert files_in(tmp_path) == ["x.safetensors"]


INTEGERS = ["BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64", "C64"]


@pytest.mark.parametrize("code", [*INTEGERS, "F8_E4M3", "F8_E5M2", "F4"])
def test_types_that_are_no_weights_are_refused_by_name(code, tmp_path):
    from converters.files.safetensors_file import CODES

    size = 1000 * CODES[code][1] // 8
    header = {"head.bias": entry(0, size, [1000], code)}
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_bytes(header, b"\0" * size))
    with pytest.raises(ConversionError) as error:
        convert(path, tmp_path / "y.keras", config=CONFIG)
    assert "head.bias" in str(error.value) and CODES[code][0] in str(error.value)
    assert files_in(tmp_path) == ["x.safetensors"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing", "unreadable"])
@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".weights.h5"])
def test_what_is_no_file_is_refused(kind, suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "unreadable":
        path.write_bytes(b"x")
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
    texts = {
        "folder": "a folder, not a file",
        "pipe": "a pipe, not a file",
        "missing": "no such file",
        "unreadable": "cannot be read",
    }
    with pytest.raises(ConversionError, match=texts[kind]):
        convert(path, tmp_path / "y.safetensors", config=CONFIG)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_header_never_escapes_as_another_error(data, tmp_path_factory):
    """Any byte of the header changed: refused, or read as the same weights."""
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    good = folder / "good.safetensors"
    if not good.exists():
        write_canonical(good, CONFIG)
    content = bytearray(good.read_bytes())
    end = 8 + int.from_bytes(content[:8], "little")
    position = data.draw(st.integers(0, end - 1))
    content[position] = data.draw(st.integers(0, 255))
    path = folder / "bad.safetensors"
    path.write_bytes(content)
    try:
        found = inspect(path)
    except ValueError:
        return  # ConversionError or ConfigError
    assert found.issues or found.tensors


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=300))
def test_random_bytes_are_refused(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConversionError):
        SafetensorsReader(path, CONFIG)


# ---- Keras files --------------------------------------------------------------------


@pytest.fixture
def keras_file(tmp_path):
    folder = tmp_path / "good"
    folder.mkdir()
    path = write_canonical(folder / "a.safetensors", CONFIG)
    convert(path, folder / "a.keras")
    convert(path, folder / "a.weights.h5")
    return folder / "a.keras"


def rezip(source, target, change):
    """Copies an archive, with `change(name, data)` giving [(info, data), ...]."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            for item, data in change(info, old.read(info)):
                new.writestr(item, data)


def keep(info, data):
    return [(info.filename, data)]


def link_member(info, data):
    link = zipfile.ZipInfo("model.weights.h5")
    link.external_attr = 0o120777 << 16
    return keep(info, data) if info.filename != link.filename else [(link, b"/etc/x")]


def deflated(info, data):
    packed = zipfile.ZipInfo(info.filename)
    packed.compress_type = zipfile.ZIP_DEFLATED
    return [(packed, data)]


def config_json(change):
    def apply(info, data):
        if info.filename == "config.json":
            value = json.loads(data)
            change(value)
            data = json.dumps(value).encode()
        return keep(info, data)

    return apply


def extra(name):
    return lambda info, data: [
        *keep(info, data),
        *([(name, b"x")] if info.filename == "config.json" else []),
    ]


def without(name):
    return lambda info, data: [] if info.filename == name else keep(info, data)


ZIPS = {
    "traversal": (extra("../evil"), 'member "../evil": not part'),
    "absolute": (extra("/etc/passwd"), "not part of a saved ViT"),
    "duplicate": (extra("config.json"), "stands twice"),
    "foreign_member": (extra("assets/evil.bin"), "not part of a saved ViT"),
    "control_name": (extra("a\x1b[2J"), "not part of a saved ViT"),
    "link": (link_member, "is a link"),
    "compressed": (deflated, "is compressed"),
    "no_weights": (without("model.weights.h5"), "model.weights.h5 missing"),
    "no_config": (without("config.json"), "config.json missing"),
    "lambda": (
        config_json(lambda c: c.update(class_name="Lambda", registered_name=None)),
        'its model is a "Lambda"',
    ),
    "other_class": (
        config_json(lambda c: c.update(registered_name="evil>ViT")),
        'its model is a "evil>ViT"',
    ),
    "quantised": (
        config_json(lambda c: c["config"].update(quantized={"head": "Quantized"})),
        "quantised",
    ),
    "no_inner_config": (
        config_json(lambda c: c["config"].pop("config")),
        "no ViT config",
    ),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", ZIPS)
def test_hostile_archive_is_refused(case, keras_file, tmp_path):
    change, text = ZIPS[case]
    rezip(keras_file, tmp_path / "x.keras", change)
    before = files_in(tmp_path)
    with pytest.raises(ConversionError) as error:
        convert(tmp_path / "x.keras", tmp_path / "y.safetensors")
    assert text in str(error.value)
    assert "\x1b" not in str(error.value)
    assert files_in(tmp_path) == before


def test_encrypted_and_cut_archives_are_refused(keras_file, tmp_path):
    content = bytearray(keras_file.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 8] |= 1
    (tmp_path / "x.keras").write_bytes(content)
    with pytest.raises(ConversionError, match="is encrypted"):
        convert(tmp_path / "x.keras", tmp_path / "y.safetensors")
    (tmp_path / "z.keras").write_bytes(keras_file.read_bytes()[:-100])
    with pytest.raises(ConversionError, match="not a whole zip archive"):
        convert(tmp_path / "z.keras", tmp_path / "y.safetensors")


PLACE = "blocks/block/attn/proj/vars"


def soft(h5, folder):
    del h5[f"{PLACE}/0"]
    h5[f"{PLACE}/0"] = h5py.SoftLink("/head/vars/0")


def external(h5, folder):
    del h5[f"{PLACE}/0"]
    h5[f"{PLACE}/0"] = h5py.ExternalLink("/etc/passwd", "/x")


def hard(h5, folder):
    del h5[f"{PLACE}/0"]
    h5[f"{PLACE}/0"] = h5["blocks/block_1/attn/proj/vars/0"]


def group_alias(h5, folder):
    del h5["blocks/block"]
    h5["blocks/block"] = h5["blocks/block_1"]


def external_data(h5, folder):
    (folder / "secret").write_bytes(b"\1" * 2304)
    del h5[f"{PLACE}/0"]
    files = [(str(folder / "secret"), 0, 2304)]
    h5.create_dataset(f"{PLACE}/0", (24, 24), "f4", external=files)


def virtual(h5, folder):
    del h5[f"{PLACE}/0"]
    layout = h5py.VirtualLayout((24, 24), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (24, 24))
    h5.create_virtual_dataset(f"{PLACE}/0", layout)


def gzip(h5, folder):
    values = h5[f"{PLACE}/0"][()]
    del h5[f"{PLACE}/0"]
    h5.create_dataset(f"{PLACE}/0", data=values, compression="gzip")


def bomb(h5, folder):
    h5.create_dataset("head/vars/7", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))


def text(h5, folder):
    del h5["head/vars/1"]
    h5["head/vars/1"] = "surprise"


def objects(h5, folder):
    h5.create_dataset("head/vars/9", data=np.array([b"x"], dtype=h5py.string_dtype()))


def big_endian(h5, folder):
    values = h5["head/vars/1"][()].astype(">f4")
    del h5["head/vars/1"]
    h5["head/vars/1"] = values


def int8(h5, folder):
    del h5["head/vars/0"]
    h5["head/vars/0"] = np.zeros((24, 5), np.int8)


def extra_data(h5, folder):
    h5["blocks/block/attn/extra/vars/0"] = np.zeros(3, np.float32)


def missing_data(h5, folder):
    del h5["blocks/block_1/norm2/vars/1"]


def other_name(h5, folder):
    h5["head/vars"].attrs["name"] = "head_dist"


def flipped_bit(h5, folder):
    values = h5["head/vars/0"][()]
    values.view(np.uint32)[0, 0] ^= 1
    h5["head/vars/0"][...] = values


def named_type(h5, folder):
    h5["head/type"] = np.dtype("f4")


H5 = {
    soft: "is a link",
    external: "is a link",
    hard: "another name for the same data",
    group_alias: "another name for the same data",
    external_data: "lies in another file",
    virtual: "lies in another file",
    gzip: "is compressed",
    bomb: "announces 4398046511104 bytes and has 0",
    text: "is of type object",
    objects: "is of type object",
    big_endian: "is of type >f4",
    int8: "quantised (int8)",
    extra_data: "unexpected  blocks/block/attn/extra/vars/0",
    missing_data: "missing     blocks_1/norm2/beta",
    other_name: "found layer 'head_dist'",
    flipped_bit: "not the values that the file's own digest names",
    named_type: "neither group nor data",
}


@pytest.mark.parametrize("change", H5, ids=lambda change: change.__name__)
def test_hostile_hdf5_is_refused(change, keras_file, tmp_path):
    path = tmp_path / "x.weights.h5"
    path.write_bytes(keras_file.with_name("a.weights.h5").read_bytes())
    with h5py.File(path, "a") as h5:
        change(h5, tmp_path)
    before = files_in(tmp_path)
    with pytest.raises(ConversionError) as error:
        convert(path, tmp_path / "y.safetensors", config=CONFIG)
    assert H5[change] in str(error.value)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("position", [9, 40, 100, 800, 2000, 5000])
def test_damaged_hdf5_never_escapes_as_another_error(position, keras_file, tmp_path):
    content = bytearray(keras_file.with_name("a.weights.h5").read_bytes())
    content[position : position + 16] = b"\xff" * 16
    path = tmp_path / "x.weights.h5"
    path.write_bytes(content)
    before = files_in(tmp_path)
    try:
        convert(path, tmp_path / "y.safetensors", config=CONFIG)
    except ConversionError:
        assert files_in(tmp_path) == before
    else:  # unused bytes: then all digests were right
        assert (tmp_path / "y.safetensors").exists()


@pytest.mark.parametrize("start", ["8002", "8003", "8004", "8005"])
def test_header_whose_length_reads_like_a_pickle_is_none(start, tmp_path):
    """640 is 80 02 in the file: the beginning of a pickle of protocol 2."""
    length = int.from_bytes(bytes.fromhex(start), "little")
    values = np.array([2.5, -1.0], np.float32)
    header = json.dumps({"a": entry()}).encode().ljust(length)
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors_bytes(header, values.tobytes()))
    assert path.read_bytes().startswith(bytes.fromhex(start))
    with SafetensorsReader(path) as reader:
        np.testing.assert_array_equal(reader.read("a"), values)
