"""`vit-duet embed`: whose row is whose, what a kill leaves, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

import converters
from converters import ConversionError
from converters.cli.app import app
from converters.cli.predict import file_bar
from converters.inference.embedding.job import held
from tests.predict.common import ANSWERS, KILLED, PICTURES, TIMM, apart, saved, tiny

Image = pytest.importorskip("PIL.Image")
torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]


def fill_folder(folder: Path, count: int, height: int = 9) -> Path:
    """Pictures of different sizes in folders, none like another."""
    for index in range(count):
        path = folder / f"{index % 3}" / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(index)
        values = rng.integers(0, 256, (height + index % 4, 11 + index % 3, 3), np.uint8)
        Image.fromarray(values).save(path)
    return folder


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def index_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]


def rows_of(out: Path, name: str = "embedding") -> dict[str, np.ndarray]:
    """The row of every path, as the index says."""
    tensors = {path.name: load_file(path)[name] for path in out.glob("*.safetensors")}
    return {row["path"]: tensors[row["file"]][row["row"]] for row in index_of(out)}


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    return saved(folder, tiny())


@pytest.fixture
def pictures(tmp_path):
    return fill_folder(tmp_path / "in", 10)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def refused(*arguments, **options) -> str:
    with pytest.raises(ConversionError) as caught:
        converters.embed(*arguments, **options)
    return str(caught.value)


# ---- what is written ----------------------------------------------------------------


def test_embeddings_are_timms(tmp_path):
    report = converters.embed(TIMM, PICTURES, tmp_path / "out", batch_size=3)
    found = rows_of(tmp_path / "out")
    assert list(found) == sorted(ANSWERS)
    for name, answer in ANSWERS.items():
        assert apart(found[name], answer["exact"]["features"]) < 2e-5, name
    assert (report.files, report.rows, report.shards, report.resumed) == (4, 4, 1, 0)


@pytest.mark.parametrize("options", [{}, {"batch_size": 4, "shard_size": 3}])
def test_rows_are_in_the_order_of_the_paths(model, pictures, tmp_path, options):
    out = tmp_path / "out"
    report = converters.embed(model, pictures, out, tokens=True, **options)
    index = index_of(out)
    paths = [row["path"] for row in index]
    assert paths == sorted(paths)
    assert set(paths) == {
        p.relative_to(pictures).as_posix() for p in pictures.rglob("*.png")
    }
    size = options.get("shard_size", 512)
    assert [row["row"] for row in index] == [i % size for i in range(10)]
    assert report.shards == len({row["file"] for row in index}) == -(-10 // size)
    for row in index:
        data = (pictures / row["path"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
    pooled, tokens = rows_of(out), rows_of(out, "tokens")
    from torch_vit import Preprocess, ViT

    vit = ViT.from_pretrained(model).eval()
    for path in paths:
        pixels = np.asarray(Image.open(pictures / path)).transpose(2, 0, 1)
        with torch.no_grad():
            x = Preprocess(vit.config)(torch.from_numpy(pixels.copy())[None])
            every = vit.forward_features(x)
            one = vit.forward_head(every, pre_logits=True)
        assert apart(tokens[path], every[0]) < 1e-5
        assert apart(pooled[path], one[0]) < 1e-5


def test_the_model_and_the_options_are_written(model, pictures, tmp_path):
    out = tmp_path / "out"
    report = converters.embed(model, pictures, out)
    about = json.loads((out / "embed.json").read_bytes())
    assert about["fingerprint"] == converters.inspect(model).fingerprint
    assert about["fingerprint"] == report.fingerprint
    assert about["config"] == tiny().to_dict()
    assert about["tensors"] == {"embedding": [12]}
    assert about["versions"]["numpy"] == np.__version__


def test_a_model_that_pools_nothing_has_tokens_only(tmp_path, pictures):
    c = tiny(num_classes=0, problem_type=None, global_pool="none")
    path = saved(tmp_path, c)
    assert "tokens=True" in refused(path, pictures, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    converters.embed(path, pictures, tmp_path / "out", tokens=True)
    (made,) = (tmp_path / "out").glob("*.safetensors")
    assert load_file(made).keys() == {"tokens"}
    assert rows_of(tmp_path / "out", "tokens")["0/000.png"].shape == (7, 12)


def test_rows_of_a_shard_are_bounded_in_bytes(monkeypatch, model, pictures, tmp_path):
    monkeypatch.setattr("converters.inference.embed.SHARD_BYTES", 7 * 12 * 4)
    report = converters.embed(model, pictures, tmp_path / "out", batch_size=2)
    sizes = [len(load_file(p)["embedding"]) for p in (tmp_path / "out").glob("*.safe*")]
    assert report.shards == 2
    assert sorted(sizes) == [4, 6]


# ---- stopped and gone on with -------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("file_format", ["safetensors", "parquet"])
def test_killed_again_and_again_it_leaves_the_same_bytes(model, tmp_path, file_format):
    if file_format == "parquet":
        pytest.importorskip("pyarrow")
    folder = fill_folder(tmp_path / "in", 41, height=60)
    (folder / "1" / "broken.png").write_bytes(b"")
    out, report = tmp_path / "out", tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.predict.killer"]
    done = subprocess.run(
        [*command, *map(str, (model, folder, out, report)), file_format],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(report.read_bytes())
    # It was killed before the first shard, and at many different states of the work.
    assert told["killed"][0] == 0
    assert len({count for count in told["killed"] if 0 < count < 11}) >= 4
    assert told["killed"] == sorted(told["killed"])  # nothing was lost
    whole = tmp_path / "whole"
    with torch_threads(1):
        converters.embed(model, folder, whole, **KILLED, format=file_format)
    mine, theirs = content(out), content(whole)
    assert mine.keys() == theirs.keys()
    if file_format == "safetensors":
        rows, expected = rows_of(out), rows_of(whole)
        assert {
            name: apart(rows[name], expected[name]) for name in expected
        } == dict.fromkeys(expected, 0.0)
    assert [name for name in mine if mine[name] != theirs[name]] == []
    assert [row["path"] for row in index_of(out)] == sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.png")
        if path.name != "broken.png"
    )


def test_what_is_there_is_not_made_again(model, pictures, tmp_path):
    out = tmp_path / "out"
    options = {"shard_size": 3, "batch_size": 2}
    converters.embed(model, pictures, out, **options)
    before = content(out)
    gone = out / "embeddings-00002-of-00004.safetensors"
    kept = out / "embeddings-00003-of-00004.safetensors"
    stamp = kept.stat().st_mtime_ns
    gone.unlink()
    (out / "index.jsonl").unlink()
    (out / ".vit-duet-abc.tmp").write_bytes(b"left by a kill")
    told = []
    report = converters.embed(
        model, pictures, out, **options, progress=lambda *pair: told.append(pair)
    )
    assert content(out) == before
    assert kept.stat().st_mtime_ns == stamp
    assert report.resumed == 7
    assert told == [(7, 10), (8, 10), (9, 10), (10, 10)]
    again = converters.embed(model, pictures, out, **options)
    assert (again.resumed, again.rows) == (10, 10)
    assert content(out) == before


def test_it_goes_on_in_as_many_threads(model, pictures, tmp_path):
    out = tmp_path / "out"
    with torch_threads(2):
        converters.embed(model, pictures, out, shard_size=3)
    before = content(out)
    assert json.loads(before["embed.json"])["threads"] == 2
    (out / "embeddings-00002-of-00004.safetensors").unlink()
    seen = set()
    with torch_threads(1):
        converters.embed(
            model,
            pictures,
            out,
            shard_size=3,
            progress=lambda *_: seen.add(torch.get_num_threads()),
        )
        assert seen == {2}
        assert torch.get_num_threads() == 1
        assert content(out) == before
        converters.embed(model, pictures, out, shard_size=3, force=True)
        assert json.loads((out / "embed.json").read_bytes())["threads"] == 1
    told = json.loads(before["embed.json"])
    (out / "embed.json").write_text(json.dumps({**told, "threads": "many"}))
    assert "threads  found 'many';  expected" in refused(
        model, pictures, out, shard_size=3
    )


def test_another_model_or_other_options_are_refused(model, pictures, tmp_path):
    out = tmp_path / "out"
    converters.embed(model, pictures, out, batch_size=2)
    before = content(out)
    other = saved(tmp_path, tiny(), "other.safetensors")
    arrays = load_file(other)
    arrays["head.bias"] += 1
    from tests.converters.cases import write_canonical

    other.unlink()
    write_canonical(other, tiny(), arrays)
    said = refused(other, pictures, out, batch_size=2)
    assert "fingerprint" in said
    assert "force=True" in said
    said = refused(model, pictures, out, batch_size=4)
    assert "batch_size  found 2;  expected 4" in said
    said = refused(model, pictures, out, batch_size=2, changes={"data.crop_pct": 0.5})
    assert "config.data.crop_pct  found 1.0;  expected 0.5" in said
    assert content(out) == before
    report = converters.embed(other, pictures, out, batch_size=4, force=True)
    assert report.resumed == 0
    clean = tmp_path / "clean"
    converters.embed(other, pictures, clean, batch_size=4)
    assert content(out) == content(clean) != before


def test_a_folder_that_changed_is_refused(model, pictures, tmp_path):
    out = tmp_path / "out"
    converters.embed(model, pictures, out, shard_size=4)
    (out / "index.jsonl").unlink()
    (pictures / "0" / "000.png").unlink()
    os.utime(pictures / "1" / "001.png", ns=(1, 1))
    fill_folder(pictures / "new", 1)
    said = refused(model, pictures, out, shard_size=4)
    assert "0/000.png  vanished since" in said
    assert "1/001.png  changed since" in said
    assert "new/0/000.png  new" in said
    assert "3 problems" in said


def test_a_file_that_changes_meanwhile_gets_no_row(model, pictures, tmp_path):
    last = pictures / "2" / "008.png"

    def change(done, total):
        if done == 2:
            last.write_bytes((pictures / "0" / "000.png").read_bytes())
            last.with_name("005.png").unlink()

    # One batch and the threads are ahead; those two are the last ones.
    report = converters.embed(
        model,
        fill_folder(pictures, 60),
        tmp_path / "out",
        batch_size=1,
        progress=change,
    )
    assert {f.file: f.reason for f in report.unreadable} == {
        "2/005.png": "unreadable: No such file or directory",
        "2/008.png": "changed since the folder was listed",
    }


@pytest.mark.parametrize("damage", ["cut", "other rows", "other file"])
def test_a_damaged_shard_is_refused(model, pictures, tmp_path, damage):
    out = tmp_path / "out"
    converters.embed(model, pictures, out, shard_size=4)
    first, second, _ = sorted(out.glob("*.safetensors"))
    if damage == "cut":
        first.write_bytes(first.read_bytes()[:-1])
    elif damage == "other rows":
        first.write_bytes(second.read_bytes())
    else:
        first.write_bytes(model.read_bytes())
    said = refused(model, pictures, out, shard_size=4)
    assert first.name in said
    assert "Remove it; it will be made again." in said
    first.unlink()
    assert converters.embed(model, pictures, out, shard_size=4).resumed == 6


# ---- what cannot be read, what is refused -------------------------------------------


def test_unreadable_files_are_listed_and_fatal_only_if_asked(model, pictures, tmp_path):
    (pictures / "0" / "b.jpg").write_bytes(b"<html>")
    np.save(pictures / "c.npy", np.zeros((2, 3, 12, 8), np.float32))
    out = tmp_path / "out"
    report = converters.embed(model, pictures, out, shard_size=5, batch_size=2)
    assert (report.rows, report.files) == (10, 12)
    told = [
        json.loads(line) for line in (out / "unreadable.jsonl").read_text().splitlines()
    ]
    assert [row["path"] for row in told] == ["0/b.jpg", "c.npy"]
    assert "found text, HTML" in told[0]["reason"]
    assert "2 inputs; at most 1" in told[1]["reason"]
    assert "2 files could not be read:\n  0/b.jpg: no picture" in str(report)
    assert len(rows_of(out)) == 10
    said = refused(model, pictures, tmp_path / "strict", strict=True)
    assert "0/b.jpg" in said
    assert not list((tmp_path / "strict").glob("*.safetensors"))
    assert "0/b.jpg" in refused(
        model, pictures, out, shard_size=5, batch_size=2, strict=True
    )
    # Without --strict the same call goes on, to the same bytes.
    converters.embed(
        model, pictures, tmp_path / "strict", shard_size=5, batch_size=2, force=True
    )
    assert content(tmp_path / "strict") == content(out)


def test_a_shard_of_unreadable_files_has_no_rows(model, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").touch()
    report = converters.embed(model, folder, tmp_path / "out")
    assert report.rows == 0
    (made,) = (tmp_path / "out").glob("*.safetensors")
    assert load_file(made)["embedding"].shape == (0, 12)
    assert converters.embed(model, folder, tmp_path / "out").resumed == 1


def test_folders_that_are_none(model, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    out = tmp_path / "out"
    assert "no such folder" in refused(model, tmp_path / "gone", out)
    assert "an empty folder" in refused(model, tmp_path / "empty", out)
    assert "a folder without inputs" in refused(model, model.parent, out)
    assert "not a folder" in refused(model, tmp_path / "file", out)
    assert "a file, not a folder" in refused(model, pictures, tmp_path / "file")
    assert "no such folder" in refused(model, pictures, tmp_path / "a" / "b")
    said = refused(model, pictures, tmp_path, force=True)
    assert "a folder with other files: empty, file, in and 1 more" in said
    assert not out.exists()
    with held(tmp_path / "empty"):
        assert "another run" in refused(model, pictures, tmp_path / "empty")


def test_a_model_without_preprocessing_is_refused(pictures, tmp_path):
    path = saved(tmp_path, tiny(data=None))
    assert "not guessed" in refused(path, pictures, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_terminal_sees_rate_and_remaining_time(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with file_bar("embed") as show:
        for done in range(70, 90):  # 70 of 120 were done by an earlier run
            show(done, 120)
            time.sleep(0.02)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    found = re.search(r" 89/120 (\d+\.\d)/s 0:00:0\d", shown)
    assert found, shown
    assert 5 < float(found[1]) < 50  # 19 in 0.4 s; 70 more would be 220 a second
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with file_bar("embed") as show:
        assert show is None


def test_the_command(model, pictures, tmp_path):
    arguments = ["embed", model, pictures, tmp_path / "out", "--batch-size", 3]
    found = CliRunner().invoke(app, list(map(str, arguments)))
    assert found.exit_code == 0
    assert "10 of 10 files, each embedding 12" in found.stdout
    assert found.stderr == ""
    found = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    said = json.loads(found.stdout)
    assert (said["rows"], said["resumed"], said["tensors"]) == (
        10,
        10,
        {"embedding": [12]},
    )
    found = CliRunner().invoke(app, [*map(str, arguments), "--tokens"])
    assert found.exit_code == 1
    assert "tensors.tokens" in found.stderr
