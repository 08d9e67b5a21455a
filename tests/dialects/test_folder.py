"""A folder as Hugging Face' `save_pretrained` leaves it: weights beside a config."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

import converters
from converters.libraries import positions
from tests.dialects.common import KEYS
from vit_config import ViTConfig
from vit_config.weights import weight_table

MODELS = json.loads((KEYS / "huggingface.json").read_text())["models"]


def folder(path: Path, name: str) -> tuple[Path, ViTConfig]:
    """Writes the folder; the tensors' values are told by name and place alone."""
    entry = MODELS[name]
    path.mkdir()
    rng = np.random.default_rng(0)
    tensors = {
        key: rng.standard_normal(shape, dtype=np.float32)
        for key, (shape, _) in entry["generations"]["saved"].items()
    }
    save_file(tensors, path / "model.safetensors")
    given = entry["config"]["given"]
    (path / "config.json").write_text(json.dumps(given))
    return path, ViTConfig.from_dialect("huggingface", given)


def test_folder_is_read_by_its_own_config(tmp_path: Path) -> None:
    source, config = folder(tmp_path / "hub", "ViTForImageClassification")
    report = converters.convert(source, tmp_path / "out.safetensors")
    assert report.source_dialect == "huggingface@vit"
    assert report.config.architecture() == config.architecture()
    ours = load_file(tmp_path / "out.safetensors")
    assert {n: v.shape for n, v in ours.items()} == {
        weight.name: weight.shape for weight in weight_table(config)
    }
    theirs = load_file(source / "model.safetensors")
    qkv = [n for n in theirs if "layer.0." in n and n.endswith("query.weight")]
    np.testing.assert_array_equal(
        ours["blocks.0.attn.qkv.weight"][: config.attn_dim], theirs[qkv[0]]
    )


def test_folder_comes_back_bit_identical(tmp_path: Path) -> None:
    source, _ = folder(tmp_path / "hub", "ViTForImageClassification")
    converters.convert(source, tmp_path / "a.keras")
    converters.convert(
        tmp_path / "a.keras", tmp_path / "b.safetensors", to_dialect="huggingface"
    )
    converters.convert(source, tmp_path / "c.safetensors")
    converters.convert(tmp_path / "b.safetensors", tmp_path / "d.safetensors")
    c, d = (load_file(tmp_path / f"{x}.safetensors") for x in "cd")
    assert c.keys() == d.keys()
    for name, value in c.items():
        np.testing.assert_array_equal(value, d[name])


def test_computed_positions_are_made_and_named(tmp_path: Path) -> None:
    source, _ = folder(tmp_path / "hub", "VideoMAEForVideoClassification")
    report = converters.convert(source, tmp_path / "out.safetensors")
    assert report.computed == {"pos_embed": positions.VIDEOMAE_RULE}
    table = load_file(tmp_path / "out.safetensors")["pos_embed"]
    assert (table == positions.videomae(report.config)).all()
