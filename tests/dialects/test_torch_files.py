"""Torch checkpoints and sharded files, good ones and hostile ones."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from converters.conversion.convert import convert
from converters.errors import ConversionError
from tests.dialects.common import MONAI, monai_names, same
from tests.fill import fill_weights

CONFIG = MONAI["tanh"]
NAMED = monai_names(CONFIG, fill_weights(CONFIG), False)


def read(path, tmp_path, **options):
    out = tmp_path / "canonical.safetensors"
    report = convert(path, out, config=CONFIG, force=True, **options)
    return report, load_file(out)


def refused(path, tmp_path, text, **options):
    with pytest.raises(ConversionError, match=text):
        convert(path, tmp_path / "out.keras", config=CONFIG, **options)
    assert not (tmp_path / "out.keras").exists()


def alone(code, folder):
    """Runs code in a process of its own."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, check=True)


def tensors(prefix=""):
    import torch

    return {prefix + name: torch.tensor(values) for name, values in NAMED.items()}


@pytest.mark.parametrize(
    "wrap",
    {
        "bare": lambda weights: weights,
        "state_dict": lambda weights: {"state_dict": weights, "epoch": 3},
        "nested": lambda weights: {"net": {"student": weights}, "loss": 0.5},
        "training": lambda weights: {
            "model": weights,
            "optimizer": {"state": {0: {"exp_avg": next(iter(weights.values()))}}},
            "lr_schedulers": [{"last": 1}],
        },
    }.items(),
    ids=lambda pair: pair[0],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt"])
def test_wrapped(wrap, suffix, tmp_path):
    import torch

    path = tmp_path / f"m{suffix}"
    torch.save(wrap[1](tensors("module.")), path)
    report, found = read(path, tmp_path)
    assert same(found, fill_weights(CONFIG))
    assert report.source_format == "torch"


def test_legacy_pickle_and_bfloat16(tmp_path):
    import torch

    weights = {name: t.bfloat16() for name, t in tensors().items()}
    path = tmp_path / "m.pth"
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    report, found = read(path, tmp_path)
    assert report.dtype == "bfloat16"
    wanted = weights["norm.weight"].view(torch.int16).numpy().tobytes()
    assert found["norm.weight"].tobytes() == wanted


def test_teacher_and_student_must_be_told_apart(tmp_path):
    import torch

    path = tmp_path / "m.pth"
    twice = {name: t * 2 for name, t in tensors("backbone.").items()}
    torch.save({"student": twice, "teacher": tensors("backbone.")}, path)
    refused(path, tmp_path, "more than one model")
    report, found = read(path, tmp_path, prefix="teacher.backbone.")
    assert same(found, fill_weights(CONFIG))
    assert report.steps == ("take_prefix:teacher.backbone.",)


class Evil:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_not_run(legacy, tmp_path, capsys):
    import torch

    path = tmp_path / "m.pth"
    if legacy:
        path.write_bytes(pickle.dumps(Evil(), protocol=2))
    else:
        torch.save({"a": Evil()}, path)
    refused(path, tmp_path, "no weights in it|not a dict of tensors")
    assert "run" not in capsys.readouterr().out
    torch.save({"state_dict": tensors(), "a": Evil()}, path)
    report, found = read(path, tmp_path)
    assert same(found, fill_weights(CONFIG))
    assert report.others.aside == {"a": "builtins.print"}
    assert "run" not in capsys.readouterr().out


def odd(kind):
    import torch

    first = torch.zeros(3)
    return {
        "expanded": (lambda: first[:1].expand(10**9), "an expanded tensor"),
        "sparse": (lambda: torch.eye(3).to_sparse(), "a sparse tensor"),
        "complex": (lambda: torch.zeros(3, dtype=torch.complex64), "a complex tensor"),
        "meta": (lambda: torch.zeros(3, device="meta"), "without values"),
        "rank": (lambda: torch.zeros((1,) * 9), "9 axes"),
        "quantized": (
            lambda: torch.quantize_per_tensor(first, 0.1, 0, torch.qint8),
            "quantised|cannot read|more than tensors",
        ),
        "whole_numbers": (lambda: torch.zeros(3, dtype=torch.int64), "unexpected"),
    }[kind]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind",
    [
        "expanded",
        "sparse",
        "complex",
        "meta",
        "rank",
        "quantized",
        "whole_numbers",
    ],
)
def test_odd_tensors(kind, tmp_path):
    import torch

    make, text = odd(kind)
    path = tmp_path / "m.pth"
    torch.save({**tensors(), "odd": make()}, path)
    refused(path, tmp_path, text)


@pytest.mark.parametrize("name", ["", "a\x1b[0m", "../x", "a\0b"])
def test_odd_names(name, tmp_path):
    import torch

    torch.save({**tensors(), name: torch.zeros(1)}, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", tmp_path, "name|path|character")


def test_keys_that_are_no_text_and_what_is_no_dict(tmp_path):
    import torch

    path = tmp_path / "m.pth"
    torch.save({**tensors(), 3: torch.zeros(1)}, path)
    refused(path, tmp_path, "unexpected  3 ")
    torch.save(torch.zeros(1), path)
    refused(path, tmp_path, "tensor, float32, not a dict of tensors")
    torch.save({"a": {"b.c": torch.zeros(1)}, "a.b": {"c": torch.zeros(1)}}, path)
    refused(path, tmp_path, "stands twice")
    for empty in ({"epoch": 3}, {}, [], {"steps": {"n": torch.tensor(3)}}):
        torch.save(empty, path)
        refused(path, tmp_path, "no weights in it")


def test_zip_bomb_and_other_archives(tmp_path):
    import torch

    good, bad = tmp_path / "m.pth", tmp_path / "bad.pth"
    torch.save(tensors(), good)
    with zipfile.ZipFile(good) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    refused(bad, tmp_path, "is compressed")
    with zipfile.ZipFile(bad, "w") as archive:
        for name, data in {**entries, "../x": b""}.items():
            archive.writestr(name, data)
    refused(bad, tmp_path, "is a path")
    with pytest.warns(UserWarning), zipfile.ZipFile(bad, "w") as archive:
        for name in [*entries, next(iter(entries))]:
            archive.writestr(name, entries[name])
    refused(bad, tmp_path, "stands twice")
    bad.write_bytes(good.read_bytes()[:-200])
    refused(bad, tmp_path, "cut short or broken")
    for data, text in (
        (b"", "empty"),
        (b"version https://git-lfs", "Git LFS pointer"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"hello", "not torch's format"),
    ):
        bad.write_bytes(data)
        refused(bad, tmp_path, text)
    refused(tmp_path / "none.pth", tmp_path, "no such file")


def test_torch_is_not_needed(tmp_path):
    import torch

    torch.save({"net": tensors(), "epoch": 3}, tmp_path / "m.pth")
    (tmp_path / "c.json").write_text(CONFIG.to_json())
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import converters\n"
        "converters.convert('m.pth', 'out.safetensors', config='c.json')"
    )
    alone(code, tmp_path)
    assert same(load_file(tmp_path / "out.safetensors"), fill_weights(CONFIG))


# ---- shards --------------------------------------------------------------------------


def shards(folder, where=None, **index):
    """Two shards and an index; `where` changes the index."""
    names = sorted(NAMED)
    files = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, members in files.items():
        save_file({name: NAMED[name] for name in members}, folder / file)
    weight_map = {n: file for file, members in files.items() for n in members}
    text = json.dumps({"weight_map": {**weight_map, **(where or {})}, **index})
    path = folder / "model.safetensors.index.json"
    path.write_text(text)
    return path


def test_sharded(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    path = shards(folder, metadata={"total_size": 1})
    for source in (path, folder):
        _, found = read(source, tmp_path)
        assert same(found, fill_weights(CONFIG))


@pytest.mark.parametrize(
    "shard, text",
    {
        "../a.safetensors": "leads out",
        "/etc/a.safetensors": "leads out",
        "x\\a.safetensors": "leads out",
        "https://x.org/a.safetensors": "leads out",
        "sub/a.safetensors": "leads out",
        "a.pth": "not the name of",
        "c.safetensors": "does not exist",
        "b.safetensors": "as the index says",
    }.items(),
)
def test_index_that_lies(shard, text, tmp_path):
    save_file({"x": np.ones(1, np.float32)}, tmp_path.parent / "a.safetensors")
    path = shards(tmp_path, {sorted(NAMED)[0]: shard})
    refused(path, tmp_path, text)


def test_link_out_of_the_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    path = shards(folder)
    (folder / "a.safetensors").rename(tmp_path / "a.safetensors")
    (folder / "a.safetensors").symlink_to("../a.safetensors")
    refused(path, tmp_path, "a link out of the folder")


def test_shard_that_holds_more(tmp_path):
    path = shards(tmp_path)
    more = {**load_file(tmp_path / "a.safetensors"), "x": np.ones(1, np.float32)}
    save_file(more, tmp_path / "a.safetensors")
    refused(path, tmp_path, "which the index does not say")


def test_single_file_beside_the_index(tmp_path):
    path = shards(tmp_path)
    save_file(NAMED, tmp_path / "model.safetensors")
    refused(path.parent, tmp_path, "both")


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"weight_map": {"a": 1}}', "{", "\xff"]
)
def test_broken_index(text, tmp_path):
    path = shards(tmp_path)
    path.write_bytes(text.encode("latin-1"))
    refused(path, tmp_path, "JSON|weight_map|UTF-8")
