"""`vit-duet embed --format parquet`: what pyarrow reads of it, and what is refused."""

from __future__ import annotations

import json
import sys
import tracemalloc

import numpy as np
import pytest
from typer.testing import CliRunner

import converters
from converters.cli.app import app
from converters.extras import MissingExtraError
from tests.predict.common import saved, tiny
from tests.predict.test_embed import content, fill_folder, index_of, refused, rows_of

pytest.importorskip("PIL.Image")
pytest.importorskip("torch")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    return saved(folder, tiny())


@pytest.fixture
def pictures(tmp_path):
    return fill_folder(tmp_path / "in", 10)


@pytest.mark.parametrize("options", [{}, {"batch_size": 4, "shard_size": 3}])
def test_pyarrow_reads_what_safetensors_has(model, pictures, tmp_path, options):
    out, other = tmp_path / "out", tmp_path / "other"
    options = {**options, "tokens": True}
    report = converters.embed(model, pictures, out, format="parquet", **options)
    converters.embed(model, pictures, other, **options)
    names = sorted(path.name for path in out.glob("embeddings-*"))
    assert report.shards == len(names) == -(-10 // options.get("shard_size", 512))
    assert names[0] == f"embeddings-00001-of-{len(names):05d}.parquet"
    table = pa.concat_tables(pq.read_table(out / name) for name in names)
    assert table.column_names == ["path", "sha256", "embedding", "tokens"]
    assert table.schema.field("embedding").type.list_size == 12
    assert table.schema.field("embedding").type.value_type == pa.float32()
    index = index_of(out)
    assert [row["path"] for row in index] == table["path"].to_pylist()
    assert [row["sha256"] for row in index] == table["sha256"].to_pylist()
    assert index == [
        {**row, "file": row["file"].replace(".safetensors", ".parquet")}
        for row in index_of(other)
    ]
    for name, shape in (("embedding", (12,)), ("tokens", (7, 12))):
        expected = rows_of(other, name)
        found = np.array(table[name].to_pylist(), np.float32)
        assert found.shape == (10, *shape)
        assert found.std() > 0.1
        for path, row in zip(table["path"].to_pylist(), found, strict=True):
            assert np.array_equal(row, expected[path]), path


def test_what_is_missing_is_made_again_to_the_same_bytes(model, pictures, tmp_path):
    (pictures / "0" / "b.jpg").write_bytes(b"<html>")
    out = tmp_path / "out"
    options = {"shard_size": 3, "batch_size": 2, "format": "parquet"}
    report = converters.embed(model, pictures, out, **options)
    before = content(out)
    assert [failure.file for failure in report.unreadable] == ["0/b.jpg"]
    assert json.loads(before["unreadable.jsonl"])["path"] == "0/b.jpg"
    (out / "embeddings-00002-of-00004.parquet").unlink()
    (out / "index.jsonl").unlink()
    again = converters.embed(model, pictures, out, **options)
    assert (again.resumed, again.rows, again.unreadable) == (8, 10, report.unreadable)
    assert content(out) == before


@pytest.mark.parametrize("damage", ["cut", "turned", "other rows", "foreign", "flat"])
def test_a_damaged_shard_is_refused(model, pictures, tmp_path, damage):
    out = tmp_path / "out"
    options = {"shard_size": 4, "format": "parquet"}
    converters.embed(model, pictures, out, **options)
    first, second, _ = sorted(out.glob("*.parquet"))
    if damage == "cut":
        first.write_bytes(first.read_bytes()[:-1])
    elif damage == "turned":  # a letter of a path, which only a checksum sees
        data = first.read_bytes()
        assert data.count(b"0/003.png") == 1  # the least and the last are in the footer
        first.write_bytes(data.replace(b"0/003.png", b"0/00E.png"))
    elif damage == "other rows":
        first.write_bytes(second.read_bytes())
    else:
        table = pq.read_table(first)
        if damage == "foreign":
            table = table.replace_schema_metadata(None)
        else:
            at = table.column_names.index("embedding")
            table = table.set_column(at, "embedding", table["path"])
        pq.write_table(table, first)
    said = refused(model, pictures, out, **options)
    assert first.name in said
    assert "Remove it; it will be made again." in said
    if damage == "turned":
        assert "CRC" in said
    first.unlink()
    assert converters.embed(model, pictures, out, **options).resumed == 6


def test_the_two_formats_are_not_mixed(model, pictures, tmp_path):
    out, clean = tmp_path / "out", tmp_path / "clean"
    converters.embed(model, pictures, out)
    said = refused(model, pictures, out, format="parquet")
    assert "file_format  found 'safetensors';  expected 'parquet'" in said
    converters.embed(model, pictures, out, format="parquet", force=True)
    converters.embed(model, pictures, clean, format="parquet")
    assert content(out) == content(clean)
    versions = json.loads((out / "embed.json").read_bytes())["versions"]
    assert versions["pyarrow"] == pa.__version__


def test_a_shard_of_unreadable_files_has_no_rows(model, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").touch()
    for expected in (0, 1):
        report = converters.embed(model, folder, tmp_path / "out", format="parquet")
        assert (report.rows, report.resumed) == (0, expected)
    (made,) = (tmp_path / "out").glob("*.parquet")
    assert pq.read_table(made).num_rows == 0


def test_formats_that_are_none(model, pictures, tmp_path):
    for value in ("csv", None, ["parquet"]):
        said = refused(model, pictures, tmp_path / "out", format=value)
        assert "format: found" in said
        assert "'safetensors' or 'parquet' would be right" in said
    assert not (tmp_path / "out").exists()


def test_a_missing_pyarrow_is_named_before_anything_is_done(
    monkeypatch, model, pictures, tmp_path
):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"vit-duet\[parquet\]"):
        converters.embed(model, pictures, tmp_path / "out", format="parquet")
    assert not (tmp_path / "out").exists()


def test_writing_copies_no_tensor(tmp_path):
    from converters.inference.embedding.shards import Shard, read_shard, write_shard

    values = np.random.default_rng(0).normal(size=(400, 10_000)).astype(np.float32)
    rows = tuple((f"{i:03d}.png", "0" * 64) for i in range(400))
    shard = Shard("embeddings-00001-of-00001.parquet", rows, ())
    held = pa.default_memory_pool().bytes_allocated()
    tracemalloc.start()
    write_shard(tmp_path, shard, {"embedding": values})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < values.nbytes / 8
    assert pa.default_memory_pool().bytes_allocated() <= held + 1_000_000
    files = [path for path, _ in rows]
    found = read_shard(tmp_path, shard.name, {"embedding": (10_000,)}, files)
    assert found == shard


def test_the_command(model, pictures, tmp_path):
    arguments = ["embed", model, pictures, tmp_path / "out", "--format", "parquet"]
    found = CliRunner().invoke(app, list(map(str, arguments)))
    assert found.exit_code == 0
    assert "out          out: 1 parquet, an index" in found.stdout
    found = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert json.loads(found.stdout)["file_format"] == "parquet"
    arguments[-1] = "csv"
    found = CliRunner().invoke(app, list(map(str, arguments)))
    assert found.exit_code == 1
    assert "'safetensors' or 'parquet' would be right" in found.stderr
