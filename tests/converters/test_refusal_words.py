"""The head of a refusal names the work, and promises only what is true of it."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import converters
from converters import ConversionError, assert_parity, convert, verify
from converters.cli.app import app
from tests.converters.cases import CASES, write_canonical

CONFIG = CASES["classes"]

WRITE = {"attention", "convert", "export", "quantize"}
"""What writes one thing, whole or not at all. `embed` keeps the shards it has."""

ARGUMENTS = {
    "attention": ("no.keras", "x.npy", "out.png"),
    "assert_parity": ("no.keras", "no.keras"),
    "bench": ("no.keras",),
    "convert": ("no.keras", "out.keras"),
    "embed": ("no.keras", ".", "out"),
    "export": ("no.keras", "out.pt2"),
    "inspect": ("no.keras",),
    "predict": ("no.keras", "x.npy"),
    "quantize": ("no.keras", "out.keras"),
    "read_scan": ("no.nii", {}),
    "verify": ("no.keras", "no.keras"),
}

FUNCTIONS = [
    name for name in converters.__all__ if inspect.isfunction(getattr(converters, name))
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((CONFIG.in_chans, *CONFIG.img_size), np.float32))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_only_what_writes_says_that_nothing_was_written(name, tmp_path):
    options = {"format": "torch"} if name == "export" else {}
    with pytest.raises(ConversionError) as refused:
        getattr(converters, name)(*ARGUMENTS[name], **options)
    head = str(refused.value).splitlines()[0]
    assert ("nothing written" in head) == (name in WRITE)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.parametrize(
    "line",
    [
        "attention no.keras x.npy out.png",
        "bench no.keras",
        "convert no.keras out.keras",
        "embed no.keras . out",
        "inspect no.keras",
        "predict no.keras x.npy",
        "quantize no.keras out.keras",
        "serve no.onnx",
        "verify no.keras no.keras",
    ],
)
def test_so_do_the_commands(line):
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 1
    writes = line.split()[0] in WRITE
    assert ("nothing written" in done.output) == writes, done.output


def test_a_disk_that_fails_while_reading_is_not_said_to_be_unwritten(monkeypatch):
    def fail(*args, **options):
        raise OSError(5, "Input/output error", "no.keras")

    monkeypatch.setattr("converters.checks.inspection.inspect", fail)
    monkeypatch.setattr("converters.conversion.convert.convert", fail)
    read = CliRunner().invoke(app, ["inspect", "no.keras"])
    written = CliRunner().invoke(app, ["convert", "no.keras", "out.keras"])
    assert read.output == "no.keras: Input/output error\n"
    assert written.output == "no.keras: Input/output error; nothing written\n"


def test_what_has_no_file_is_called_by_the_work_that_was_asked_for(tmp_path):
    path = write_canonical(tmp_path / "a.safetensors", CONFIG)
    with pytest.raises(ConversionError, match=r"^prediction: 1 problem\n"):
        converters.predict(path, [])
    with pytest.raises(ConversionError, match=r"^conversion: .*, nothing written\n"):
        convert(path, "b.keras", num_classes=-1)
    with pytest.raises(ConversionError, match=r"^inspection: 1 problem\n"):
        converters.inspect(3)


def test_models_of_another_geometry_fail_an_assertion(tmp_path):
    path = write_canonical(tmp_path / "a.safetensors", CONFIG)
    convert(path, "b.safetensors", num_classes=CONFIG.num_classes + 2)
    with pytest.raises(AssertionError) as failed:
        assert_parity(path, "b.safetensors", level="weights")
    text = str(failed.value)
    assert text.startswith("B is not the same model as A.\nB, against A: 1 problem\n")
    assert "num_classes" in text and "nothing written" not in text
    assert text.splitlines()[-1].startswith("  vit-duet verify ")
    with pytest.raises(ConversionError, match=r"^B, against A: 1 problem\n"):
        verify(path, "b.safetensors", level="weights")


def test_what_cannot_be_read_is_no_failed_assertion(tmp_path):
    path = write_canonical(tmp_path / "a.safetensors", CONFIG)
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "b.safetensors")
    with pytest.raises(ConversionError):
        assert_parity(path, tmp_path / "b.safetensors", level="weights")
