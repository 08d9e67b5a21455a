"""A written file is whole, right, the same every time, or not there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import converters.conversion.write
from converters import ConversionError, convert
from converters.files import safetensors_file
from converters.mapping.pipe import MemorySource, np_dtype
from tests.converters.cases import CASES, config, files_in, weights, write_canonical

CONFIG = CASES["classes"]
SUFFIXES = [".safetensors", ".keras", ".weights.h5"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return write_canonical(folder / "a.safetensors", CONFIG)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_round_trip_is_the_same_file(case, dtype, tmp_path):
    """torch -> Keras -> torch, through both Keras formats, byte by byte.

    Keras' bare weights hold no config: what is stated of it comes back as stated.
    """
    arrays = weights(CASES[case], dtype)
    first = write_canonical(tmp_path / "a.safetensors", CASES[case], arrays)
    convert(first, tmp_path / "b.keras")
    convert(tmp_path / "b.keras", tmp_path / "d.safetensors")
    assert (tmp_path / "d.safetensors").read_bytes() == first.read_bytes()
    convert(first, tmp_path / "c.weights.h5")
    options = {"config": CASES[case]}
    told = convert(tmp_path / "c.weights.h5", tmp_path / "e.safetensors", **options)
    back = write_canonical(tmp_path / "f.safetensors", told.config, arrays)
    assert told.config.replace(source=None) == CASES[case]
    assert (tmp_path / "e.safetensors").read_bytes() == back.read_bytes()


@pytest.mark.parametrize("name", ["a.safetensors", "a.keras", "a-timm.safetensors"])
def test_labels_that_the_caller_gives_are_written(name, source, tmp_path):
    """Whatever kind of file says the rest itself."""
    dialect = "timm" if "timm" in name else None
    first = source if name == source.name else tmp_path / name
    if first != source:
        convert(source, first, to_dialect=dialect)
    changes = {"labels": list("vwxyz")}
    report = convert(first, tmp_path / "b.keras", changes=changes)
    assert report.config.labels == tuple("vwxyz")
    assert report.config.replace(source=None) == CONFIG.replace(**changes)
    with pytest.raises(ConversionError, match=r"depth .*found 2;  expected 3"):
        convert(first, tmp_path / "c.keras", changes={"depth": 3})


def test_transposed_views_are_written_right(tmp_path):
    """The library's own saver gets this wrong, silently: the reason for ours."""
    view = np.arange(6, dtype=np.float32).reshape(2, 3).T
    save_file({"t": view}, tmp_path / "library.safetensors")
    assert not np.array_equal(load_file(tmp_path / "library.safetensors")["t"], view)

    arrays = {name: np.asfortranarray(array) for name, array in weights(CONFIG).items()}
    arrays["head.weight"] = np.ascontiguousarray(arrays["head.weight"].T).T
    assert not arrays["head.weight"].flags.c_contiguous
    path = write_canonical(tmp_path / "ours.safetensors", CONFIG, arrays)
    for name, array in load_file(path).items():
        assert np.array_equal(array, weights(CONFIG)[name])


class Views:
    """A source that serves strided views, as a careless one might."""

    def __init__(self, arrays):
        self.arrays = arrays
        self.tensors = MemorySource(arrays).tensors

    def read(self, name):
        return np.asfortranarray(self.arrays[name])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_writers_trust_no_source_to_be_contiguous(suffix, tmp_path):
    from converters.files import write
    from converters.files.h5_file import write_h5
    from converters.mapping.table import KERAS

    path = tmp_path / f"x{suffix}"
    if suffix == ".weights.h5":  # directly, without the pipe that would copy
        from converters.mapping.pipe import Pipe

        twin = Pipe(MemorySource(weights(CONFIG)), KERAS.plan(CONFIG))
        write_h5(path, Views({n: twin.read(n) for n in twin.tensors}), CONFIG)
        with h5py.File(path) as h5:
            kernel = h5["head/vars/0"][()]
        assert np.array_equal(kernel, weights(CONFIG)["head.weight"].T)
    else:
        write(path, suffix[1:], Views(weights(CONFIG)), CONFIG)
        convert(path, tmp_path / "y.safetensors")
        for name, array in load_file(tmp_path / "y.safetensors").items():
            assert np.array_equal(array, weights(CONFIG)[name])


@pytest.mark.parametrize("suffix", [".safetensors", ".keras"])
def test_same_source_same_bytes_in_another_process(suffix, source, tmp_path):
    convert(source, tmp_path / f"x{suffix}")
    code = (
        "import sys, time; time.sleep(2.1); from converters import convert; "
        "convert(sys.argv[1], sys.argv[2], verify='weights')"
    )
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target = folder / f"other{suffix}"
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "7",
        "TZ": "Asia/Tokyo",
    }
    subprocess.run([sys.executable, "-c", code, source, target], env=env, check=True)
    assert target.read_bytes() == (tmp_path / f"x{suffix}").read_bytes()


def test_canonical_file_is_read_by_the_library(tmp_path):
    from safetensors import safe_open

    path = write_canonical(tmp_path / "a.safetensors", CONFIG)
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()["format"] == "pt"
        assert set(file.metadata()) == {"format", "vit_duet"}
        assert set(file.keys()) == set(weights(CONFIG))
    for name, array in load_file(path).items():
        assert array.tobytes() == weights(CONFIG)[name].tobytes()


def test_empty_head_and_single_class(tmp_path):
    for classes in (0, 1):
        other = config(num_classes=classes)
        path = write_canonical(tmp_path / f"{classes}.safetensors", other)
        report = convert(path, tmp_path / f"{classes}.keras")
        assert report.proved == report.tensors
        assert convert(tmp_path / f"{classes}.keras", path, force=True).ok


# ---- casts: named, recorded, and never to infinity ---------------------------------


def test_widening_keeps_every_value_and_is_recorded(tmp_path):
    arrays = weights(CONFIG, "bfloat16")
    path = write_canonical(tmp_path / "a.safetensors", CONFIG, arrays)
    report = convert(path, tmp_path / "b.safetensors", dtype="float32")
    assert report.steps == ("cast_float32",)
    assert report.config.source.steps == ("cast_float32",)
    for name, array in load_file(tmp_path / "b.safetensors").items():
        assert array.dtype == np.float32
        assert array.astype(np_dtype("bfloat16")).tobytes() == arrays[name].tobytes()


def test_cast_that_overflows_is_refused(tmp_path):
    arrays = weights(CONFIG)
    arrays["head.bias"][2] = 70_000
    path = write_canonical(tmp_path / "a.safetensors", CONFIG, arrays)
    with pytest.raises(
        ConversionError, match="1 of 5 values are too large for float16"
    ):
        convert(path, tmp_path / "b.keras", dtype="float16")
    assert files_in(tmp_path) == ["a.safetensors"]


def test_cast_to_the_type_that_is_there_is_no_step(source, tmp_path):
    assert convert(source, tmp_path / "b.safetensors", dtype="float32").steps == ()
    assert (tmp_path / "b.safetensors").read_bytes() == source.read_bytes()


def test_float64_needs_a_cast(tmp_path):
    path = write_canonical(
        tmp_path / "a.safetensors", CONFIG, weights(CONFIG, "float64")
    )
    with pytest.raises(ConversionError, match="found float64"):
        convert(path, tmp_path / "b.keras")
    assert convert(path, tmp_path / "b.keras", dtype="float32").ok


def test_unknown_dtype_is_refused(source, tmp_path):
    with pytest.raises(ConversionError, match="known are float32, float16, bfloat16"):
        convert(source, tmp_path / "b.keras", dtype="int8")


# ---- all or nothing ----------------------------------------------------------------


def fail_after(calls, error):
    """`MemorySource.read`-like failure in the middle of the writing."""
    original = converters.conversion.write.write

    def write(path, kind, source, config, raw):
        count = 0
        read = source.read

        def failing(name):
            nonlocal count
            count += 1
            if count > calls:
                raise error
            return read(name)

        source.read = failing
        return original(path, kind, source, config, raw)

    return write


ERRORS = {
    "disk_full": OSError(errno.ENOSPC, "No space left on device"),
    "interrupt": KeyboardInterrupt(),
    "exit": SystemExit(143),
    "bug": RuntimeError("a bug"),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ERRORS)
def test_failure_while_writing_leaves_nothing(
    kind, suffix, source, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        converters.conversion.write, "write", fail_after(9, ERRORS[kind])
    )
    with pytest.raises(type(ERRORS[kind])):
        convert(source, tmp_path / f"x{suffix}")
    assert files_in(tmp_path) == ["source"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_earlier_file_survives_a_full_disk(suffix, source, tmp_path, monkeypatch):
    target = tmp_path / f"x{suffix}"
    target.write_bytes(b"precious")
    monkeypatch.setattr(
        converters.conversion.write, "write", fail_after(9, ERRORS["disk_full"])
    )
    with pytest.raises(OSError, match="No space left"):
        convert(source, target, force=True)
    assert target.read_bytes() == b"precious"
    assert files_in(tmp_path) == ["source", target.name]


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_failure_at_the_very_end_leaves_nothing(name, source, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    if name == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="Input/output error"):
        convert(source, tmp_path / "x.keras")
    assert files_in(tmp_path) == ["source"]


def test_a_disk_without_room_is_refused_before_writing(source, tmp_path, monkeypatch):
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ConversionError, match="are needed"):
        convert(source, tmp_path / "x.keras")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_wrong_bytes_on_the_disk_are_caught(suffix, source, tmp_path, monkeypatch):
    """The proof reads the file: one flipped bit of a weight, and it gets no name."""
    original = converters.conversion.write.write

    def write(path, kind, source, config, raw):
        saved = original(path, kind, source, config, raw)
        content = bytearray(path.read_bytes())
        needle = weights(CONFIG)["head.bias"].tobytes()
        position = content.index(needle)
        content[position + 6] ^= 1
        path.write_bytes(content)
        return saved

    monkeypatch.setattr(converters.conversion.write, "write", write)
    with pytest.raises(ConversionError, match=r"head.bias  the written values are not"):
        convert(source, tmp_path / f"x{suffix}")
    assert files_in(tmp_path) == ["source"]


def test_swapped_tensors_are_caught(source, tmp_path, monkeypatch):
    """Equal shapes, exchanged contents: only the digests can tell."""
    from converters.mapping.table import KERAS

    class Swapped:
        def __init__(self, source):
            self.source, self.tensors = source, source.tensors

        def read(self, name):
            swap = {"norm.weight": "norm.bias", "norm.bias": "norm.weight"}
            return self.source.read(swap.get(name, name))

    original = converters.conversion.write.write
    monkeypatch.setattr(
        converters.conversion.write,
        "write",
        lambda p, k, s, *more: original(p, k, Swapped(s), *more),
    )
    with pytest.raises(ConversionError, match=r"norm\.(weight|bias)"):
        convert(source, tmp_path / "x.keras")
    assert KERAS and files_in(tmp_path) == ["source"]


def test_wrong_digests_beside_the_weights_are_caught(source, tmp_path, monkeypatch):
    from converters.files import h5_file

    monkeypatch.setattr(h5_file, "canonical", lambda v: '{"schema":1,"weights":{}}')
    with pytest.raises(ConversionError, match="digests beside the weights"):
        convert(source, tmp_path / "x.keras")
    assert files_in(tmp_path) == ["source"]


def test_source_that_changes_meanwhile_is_noticed(source, tmp_path, monkeypatch):
    original = converters.conversion.write.write

    def write(path, kind, reading, config, raw):
        with source.open("r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"\0\0\x80\x3f")
        return original(path, kind, reading, config, raw)

    monkeypatch.setattr(converters.conversion.write, "write", write)
    with pytest.raises(ConversionError, match="the source changed meanwhile"):
        convert(source, tmp_path / "x.keras")
    assert files_in(tmp_path) == ["source"]


# ---- targets -----------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["same", "other_spelling", "hard_link", "symlink"])
def test_the_source_is_never_the_target(kind, force, source):
    before = source.read_bytes()
    target = source.with_name("link.safetensors")
    if kind == "same":
        target = source
    elif kind == "other_spelling":
        target = source.parent / ".." / source.parent.name / source.name
    elif kind == "hard_link":
        target.hardlink_to(source)
    else:
        target.symlink_to(source)
    with pytest.raises(ConversionError, match="this is the source itself"):
        convert(source, target, force=force)
    assert source.read_bytes() == before


def test_a_dangling_link_is_an_existing_target(source, tmp_path):
    target = tmp_path / "x.keras"
    target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConversionError, match="exists already"):
        convert(source, target)
    convert(source, target, force=True)
    assert not target.is_symlink() and files_in(tmp_path) == ["source", "x.keras"]


def test_target_that_appears_meanwhile_is_not_replaced(source, tmp_path, monkeypatch):
    target = tmp_path / "x.keras"
    original = converters.conversion.write.prove

    def prove(*arguments):
        target.write_bytes(b"of another process")
        return original(*arguments)

    monkeypatch.setattr(converters.conversion.write, "prove", prove)
    with pytest.raises(ConversionError, match="exists already"):
        convert(source, target)
    assert target.read_bytes() == b"of another process"
    assert files_in(tmp_path) == ["source", "x.keras"]


def test_folder_as_target_and_missing_folder_are_refused(source, tmp_path):
    (tmp_path / "x.keras").mkdir()
    with pytest.raises(ConversionError, match="a folder, not a file"):
        convert(source, tmp_path / "x.keras", force=True)
    with pytest.raises(ConversionError, match="no such folder"):
        convert(source, tmp_path / "nowhere" / "x.keras")


def test_written_files_have_the_usual_rights(source, tmp_path):
    convert(source, tmp_path / "x.keras")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "x.keras").stat().st_mode & 0o777 == 0o666 & ~umask


def test_large_archives_get_64_bit_sizes(source, tmp_path, monkeypatch):
    """The branch for weights beyond 2 GiB, on small ones: readable all the same."""
    import zipfile

    from converters.files import keras_file

    monkeypatch.setattr(keras_file, "_ZIP64", 0)
    report = convert(source, tmp_path / "x.keras")
    assert report.ok
    with zipfile.ZipFile(tmp_path / "x.keras") as archive:
        assert archive.testzip() is None
    convert(tmp_path / "x.keras", tmp_path / "y.safetensors")
    assert (tmp_path / "y.safetensors").read_bytes() == source.read_bytes()


def test_archive_is_a_plain_zip_with_right_checksums(source, tmp_path):
    import zipfile

    convert(source, tmp_path / "x.keras")
    with zipfile.ZipFile(tmp_path / "x.keras") as archive:
        assert archive.testzip() is None
        assert {info.date_time for info in archive.infolist()} == {
            (1980, 1, 1, 0, 0, 0)
        }
        assert b"date" not in archive.read("metadata.json")


def test_header_is_sorted_and_values_start_aligned(source):
    import json

    content = source.read_bytes()
    length = int.from_bytes(content[:8], "little")
    names = [name for name in json.loads(content[8 : 8 + length]) if name[0] != "_"]
    assert length % 8 == 0 and names == sorted(names)
    assert safetensors_file.producer() in content[8 : 8 + length].decode()
