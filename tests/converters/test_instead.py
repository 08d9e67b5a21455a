"""`convert` and `export` name the call of each other that was meant, word by word."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import converters
from converters import ConversionError
from converters.artifacts import run as exporting
from converters.artifacts.place import check_place
from converters.cli.app import app
from converters.runtimes.known import MARKERS, NAMED, SUFFIXES
from tests.converters.cases import CASES, write_canonical

CONFIG = CASES["classes"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_canonical(Path("a model.safetensors"), CONFIG)


@pytest.fixture
def exported(monkeypatch):
    """What `export` is called with, in place of its work."""
    calls = []

    def work(source, target, *, format=None, changes=None, **more):
        given = {"changes": changes or {}, "force": more.get("force", False)}
        target = Path(target)
        format = format or exporting.format_meant(source, target, {})
        check_place(target, format, (), given["force"])
        calls.append((source, target, format, given))
        raise ConversionError([])

    monkeypatch.setattr(exporting, "export", work)
    return calls


def printed(*words: object, verb: str = "convert") -> list[list[str]]:
    """The lines that a refusal says to use, in words."""
    done = CliRunner().invoke(app, [verb, *map(str, words)])
    assert done.exit_code == 1
    lines = re.findall(r"^    vit-duet (.*)$", done.output, re.MULTILINE)
    assert lines, done.output
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("suffix", [*NAMED, ".ONNX"])
def test_convert_to_a_graph_names_the_export_that_writes_it(suffix, exported):
    source = "a model.safetensors"
    (line,) = printed(source, f"out put{suffix}", "--set", "norm_eps=1e-5", "--force")
    CliRunner().invoke(app, line)
    kind = NAMED[suffix.lower()]
    target = "out put" + ("" if kind in MARKERS else suffix.lower())
    given = {"changes": {"norm_eps": 1e-5}, "force": True}
    assert exported == [(source, Path(target), kind, given)]
    with pytest.raises(ConversionError) as refused:
        converters.convert(source, f"out put{suffix}", changes={"norm_eps": 1e-5})
    (call,) = re.findall(r"^    (converters\.export\(.*\))$", str(refused.value), re.M)
    with pytest.raises(ConversionError):
        eval(call, {"converters": type("fake", (), {"export": exporting.export})})
    given["force"] = False
    assert exported[1:] == [(source, Path(target), kind, given)]


@pytest.mark.parametrize("kind", MARKERS)
def test_a_folder_that_holds_a_graph_is_meant_as_one(kind, exported):
    (Path("served") / "1").mkdir(parents=True)
    (Path("served") / "1" / MARKERS[kind]).touch()
    (line,) = printed("a model.safetensors", "served", "--force")
    CliRunner().invoke(app, line)
    assert exported[0][1:3] == (Path("served"), kind)


def test_named_steps_are_taken_first(exported):
    steps = ["--num-classes", "0", "--image-size", "24x16"]
    first, second = printed("a model.safetensors", "m.onnx", *steps)
    done = CliRunner().invoke(app, first)
    assert done.exit_code == 0, done.output
    CliRunner().invoke(app, second)
    ((source, target, kind, _),) = exported
    assert (target, kind) == (Path("m.onnx"), "onnx")
    found = converters.inspect(source).config
    assert (found.num_classes, found.img_size) == (0, (24, 16))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_export_takes_its_format_from_the_suffix(suffix, exported):
    CliRunner().invoke(app, ["export", "a model.safetensors", f"m{suffix}"])
    assert exported[0][2] == SUFFIXES[suffix]


def test_a_format_that_is_stated_must_be_that_of_the_suffix():
    with pytest.raises(ConversionError, match=r"name ends with \.onnx"):
        converters.export("a model.safetensors", "m.tflite", format="onnx")
    with pytest.raises(ConversionError, match="format: found 'gguf'"):
        converters.export("a model.safetensors", "m.tflite", format="gguf")


@pytest.mark.parametrize("name, kinds", [("out", MARKERS), ("m.pb", ["saved_model"])])
def test_the_name_of_a_folder_says_no_format_and_is_asked_about(name, kinds, exported):
    lines = printed("a model.safetensors", name, verb="export")
    exporting_to = []
    for line in lines:
        CliRunner().invoke(app, line)
        exporting_to.append(exported[-1][1:3])
    assert exporting_to == [(Path(name).with_suffix(""), kind) for kind in kinds]


def test_export_to_weights_names_the_conversion_that_writes_them():
    (line,) = printed("a model.safetensors", "b.safetensors", verb="export")
    assert CliRunner().invoke(app, line).exit_code == 0
    assert Path("b.safetensors").exists()
