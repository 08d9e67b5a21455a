"""An artifact is there whole, or not at all; and replaces nothing but another one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

import converters
from converters import ConversionError
from converters.artifacts import run
from converters.artifacts.place import check_place, files_of, placed
from converters.cards.place import MARK
from converters.cli.app import app
from converters.errors import refusal
from converters.extras import MissingExtraError
from converters.runtimes.known import MARKERS
from converters.workers import process
from tests.cases import CASES
from tests.export.common import write_model

NAMES = {
    "saved_model": "m",
    "onnx": "m.onnx",
    "litert": "m.tflite",
    "torch": "m.pt2",
    "openvino": "m",
}


def make(path: Path, kind: str, text: str = "new") -> None:
    """Something that looks like an artifact."""
    if kind in MARKERS:
        (path / "1" / "assets").mkdir(parents=True)
        path = path / "1" / MARKERS[kind]
    path.write_text(text)


def content(path: Path) -> str:
    inside = [one for one in path.glob("1/*") if one.is_file()]
    return (inside[0] if inside else path).read_text()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", NAMES)
def test_an_artifact_takes_its_place_at_the_end(tmp_path, kind):
    target = tmp_path / NAMES[kind]
    with placed(target, kind, force=False) as made:
        make(made, kind)
        assert not target.exists()
        inside = files_of(made)
    assert content(target) == "new" and names(tmp_path) == [target.name]
    assert files_of(target) == inside
    mode = target.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    assert mode & 0o444 == 0o444 & ~umask


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_is_left_of_what_failed(tmp_path, kind, error):
    target = tmp_path / NAMES[kind]
    make(target, kind, "old")
    with pytest.raises(error), placed(target, kind, force=True) as made:
        make(made, kind)
        raise error
    assert content(target) == "old" and names(tmp_path) == [target.name]


def test_a_card_of_the_users_own_is_never_replaced(tmp_path):
    target = tmp_path / NAMES["saved_model"]
    make(target, "saved_model", "old")
    card = target / "README.md"
    card.write_text("mine")
    with pytest.raises(ConversionError, match=r'"README\.md"'):
        check_place(target, "saved_model", (), True)
    card.write_text(f"---\n---\n{MARK}\n")
    check_place(target, "saved_model", (), True)


@pytest.mark.parametrize("kind", NAMES)
def test_what_exists_is_replaced_by_force_only(tmp_path, kind):
    target = tmp_path / NAMES[kind]
    make(target, kind, "old")
    with pytest.raises(ConversionError, match="exists already"):
        check_place(target, kind, (), False)
    with placed(target, kind, force=True) as made:
        make(made, kind)
    assert content(target) == "new" and names(tmp_path) == [target.name]


def test_a_folder_of_anything_else_is_never_replaced(tmp_path):
    for name in ("2", "notes.txt", "1"):
        target = tmp_path / f"t-{name}"
        (target / name).mkdir(parents=True)
        with pytest.raises(ConversionError, match=f'no exported model: "{name}"'):
            check_place(target, "saved_model", (), True)
    make(tmp_path / "served", "saved_model")
    with pytest.raises(ConversionError, match='no exported model: "1"'):
        check_place(tmp_path / "served", "openvino", (), True)


@pytest.mark.parametrize(
    "kind, name, message",
    [
        ("onnx", "m.pt2", "ends with .onnx"),
        ("onnx", ".onnx", "ends with .onnx"),
        ("litert", "m", "ends with .tflite"),
        ("torch", "m.pt", "ends with .pt2"),
        ("saved_model", "m.keras", "is a folder"),
        ("openvino", "m.onnx", "openvino is a folder"),
        ("torch", "no/m.pt2", "no such folder"),
        ("saved_model", "no/m", "no such folder"),
    ],
)
def test_a_wrong_name_is_refused(tmp_path, kind, name, message):
    with pytest.raises(ConversionError, match=message):
        check_place(tmp_path / name, kind, (), False)


def test_the_source_is_not_overwritten(tmp_path):
    target = tmp_path / "m"
    make(target, "saved_model")
    source = target / "1" / "model.safetensors"
    with pytest.raises(ConversionError, match="the source lies in it"):
        check_place(target, "saved_model", (source,), True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    tmp_path.chmod(0o500)
    for kind, name in NAMES.items():
        with pytest.raises(ConversionError, match="cannot be written"):
            check_place(tmp_path / name, kind, (), False)


# ---- the whole, without the processes -----------------------------------------------


def refuse(*args, **more):
    raise refusal("is wrong", file="x")


@pytest.mark.parametrize("kind", NAMES)
def test_nothing_is_written_of_a_model_that_differs(tmp_path, monkeypatch, kind):
    def bad(contents, made, *rest):
        make(made, kind)
        refuse()

    monkeypatch.setattr(run, "require", lambda modules: None)
    monkeypatch.setattr(run, "_made", bad)
    source = write_model(tmp_path / "m.safetensors", CASES["vit"])
    with pytest.raises(ConversionError, match="is wrong"):
        converters.export(source, tmp_path / NAMES[kind], format=kind)
    assert names(tmp_path) == [source.name]


@pytest.mark.parametrize("kind, missing", [("onnx", "onnxruntime"), ("torch", "torch")])
def test_a_missing_package_is_named_with_its_extra(
    tmp_path, monkeypatch, kind, missing
):
    there = process.find_spec
    monkeypatch.setattr(
        process, "find_spec", lambda name: None if name == missing else there(name)
    )
    source = write_model(tmp_path / "m.safetensors", CASES["vit"])
    words = ["export", source, tmp_path / NAMES[kind], "--format", kind, "--json"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 1
    (line,) = json.loads(done.output)["problems"]
    extra = {"onnxruntime": "onnx", "torch": "torch"}[missing]
    assert line == f"{missing} is not installed: pip install 'vit-duet[{extra}]'"
    with pytest.raises(MissingExtraError):
        converters.export(source, tmp_path / NAMES[kind], format=kind)


def test_a_file_that_is_too_large_is_refused_before_it_is_written(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(run, "require", lambda modules: None)
    monkeypatch.setattr(run, "MOST_BYTES", 1000)
    source = write_model(tmp_path / "m.safetensors", CASES["vit"])
    for kind in ("onnx", "litert", "openvino"):
        with pytest.raises(ConversionError, match="2 GB at most"):
            converters.export(source, tmp_path / NAMES[kind], format=kind)
    assert names(tmp_path) == [source.name]


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ConversionError, match="one of saved_model, onnx"):
        converters.export(tmp_path / "m", tmp_path / "n", format="caffe")
