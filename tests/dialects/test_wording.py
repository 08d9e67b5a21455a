"""What a user who has said too little, or something wrong, is told."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from converters.cli.app import app
from tests.dialects.test_real_files import library_file


def told(*words: object) -> str:
    result = CliRunner().invoke(app, ["convert", *map(str, words)])
    assert result.exit_code == 1
    assert "nothing written" in result.output and "Traceback" not in result.output
    return result.output


def test_field_that_does_not_exist(tmp_path):
    source, _, _ = library_file("monai_1.6_tanh", tmp_path)
    text = told(source, tmp_path / "a.keras", "--set", "num_head=3")
    assert 'a config has no field "num_head"; did you mean "num_heads"?' in text


def test_flat_patches_of_an_image_are_asked_for_in_2d(tmp_path):
    source, _, _ = library_file("lucidrains_vit", tmp_path)
    text = told(source, tmp_path / "a.keras")
    assert "num_heads, img_size and patch_size are not in this file" in text
    assert "'img_size=[N,N]'" in text and "'patch_size=[N,N]'" in text


def test_flat_patches_of_a_volume_are_asked_for_in_3d(tmp_path):
    source, _, _ = library_file("lucidrains_vit_3d", tmp_path)
    text = told(source, tmp_path / "a.keras", "--from", "lucidrains@vit_3d")
    assert "'img_size=[N,N,N]'" in text and "'patch_size=[N,N,N]'" in text


def test_suffixes_that_are_read_are_more_than_those_written(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"anything")
    text = told(tmp_path / "a.zip", tmp_path / "a.keras")
    assert ".pth" in text and ".npz" in text
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "a.safetensors")
    text = told(tmp_path / "a.safetensors", tmp_path / "a.zip")
    assert ".keras" in text and ".pth" not in text
    text = told(tmp_path / "a.safetensors", tmp_path / "a.pth")
    assert "For torch write .safetensors" in text


def test_source_that_is_not_there_and_folder_without_a_model(tmp_path):
    text = told(tmp_path / "nothing", tmp_path / "a.keras")
    assert "no such file or folder" in text and "suffix" not in text
    (tmp_path / "empty").mkdir()
    text = told(tmp_path / "empty", tmp_path / "a.keras")
    assert "a folder in which there is no model" in text
    assert "model.safetensors" in text and "config.json" in text


def test_whole_module_in_a_file_is_named(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    text = told(tmp_path / "a.pt", tmp_path / "a.keras")
    assert "the weights are in an object (torch.nn.modules.linear.Linear)" in text
    assert "\x1b" not in text and "x1b" not in text
    assert "torch.load('a.pt', weights_only=False)" in text
    assert 'torch.save(checkpoint.state_dict(), "weights.pth")' in text
