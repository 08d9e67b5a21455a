"""Adapters merged into their base, held against what peft itself makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import converters
from tests.adapters.common import CONFIG, GOLDENS, WEIGHTS, adapter, base, save_base

NAMES = sorted(path.name for path in GOLDENS.iterdir() if path.is_dir())
UNMERGED = [n for n in NAMES if (GOLDENS / n / "unmerged.safetensors").exists()]
ULPS = 4
"""Of float32, relative to the largest weight: peft adds in float32, we in float64."""


def expected(name: str) -> dict[str, np.ndarray]:
    kind = "bfloat16" if name == "half" else "float32"
    if kind == "float32":
        return {**base(), **load_file(GOLDENS / name / "merged.safetensors")}
    import ml_dtypes

    changed = load_file(GOLDENS / name / "merged.safetensors")
    return {**{n: v.astype(ml_dtypes.bfloat16) for n, v in base().items()}, **changed}


def close(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype
        ours, theirs = (a.astype(np.float64) for a in (found[name], values))
        step = 2.0**-8 if values.dtype.itemsize == 2 else ULPS * 2.0**-24
        apart = np.abs(ours - theirs).max() / np.abs(theirs).max()
        assert apart <= step, name


def config_of(name: str):
    return CONFIG.replace(num_classes=3) if name == "other_head" else CONFIG


@pytest.mark.parametrize("name", NAMES)
def test_merged_weights_are_those_of_peft(name: str, tmp_path: Path) -> None:
    kind = "bfloat16" if name == "half" else "float32"
    source = save_base(tmp_path / "base.safetensors", kind=kind)
    out = tmp_path / "out.safetensors"
    report = converters.convert(
        GOLDENS / name, out, base=source, config=config_of(name)
    )
    wanted = expected(name)
    close(load_file(out), wanted)
    unchanged = [
        n for n in wanted if n not in load_file(GOLDENS / name / "merged.safetensors")
    ]
    before = load_file(source)
    same = load_file(out)
    assert all(same[n].tobytes() == before[n].tobytes() for n in unchanged)
    assert report.steps == report.config.source.steps
    assert report.steps[0].startswith("merge_lora:")


@pytest.mark.parametrize("name", UNMERGED)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_unmerged_state_dict_is_merged_likewise(
    name: str, suffix: str, tmp_path: Path
) -> None:
    source = tmp_path / f"full{suffix}"
    arrays = load_file(GOLDENS / name / "unmerged.safetensors")
    if suffix == ".pth":
        torch = pytest.importorskip("torch")
        state = {f"net.{n}": torch.tensor(v) for n, v in arrays.items()}
        torch.save({"state_dict": state}, source)
    else:
        shutil.copy(GOLDENS / name / "unmerged.safetensors", source)
    shutil.copy(GOLDENS / name / "adapter_config.json", tmp_path)
    out = tmp_path / "out.safetensors"
    report = converters.convert(source, out, config=config_of(name))
    close(load_file(out), expected(name))
    whole = tmp_path / "whole.safetensors"
    save_base(tmp_path / "base.safetensors")
    alone = converters.convert(
        GOLDENS / name,
        whole,
        base=tmp_path / "base.safetensors",
        config=config_of(name),
    )
    assert report.fingerprint == alone.fingerprint
    assert report.steps[0] == alone.steps[0]


def test_steps_say_rank_scale_and_modules(tmp_path: Path) -> None:
    source = save_base(tmp_path / "base.safetensors")
    report = converters.convert(
        GOLDENS / "patterns", tmp_path / "a.safetensors", base=source, config=CONFIG
    )
    assert report.steps == (
        "merge_lora:r=1:alpha=3:blocks.0.mlp.fc2",
        "merge_lora:r=1:alpha=5:blocks.1.mlp.fc2",
        "merge_lora:r=2:alpha=5:blocks.1.attn.qkv",
        "merge_lora:r=3:alpha=5:blocks.0.attn.qkv",
        "merge_lora:r=3:alpha=7:blocks.*.attn.proj (2)",
    )
    report = converters.convert(
        GOLDENS / "other_head",
        tmp_path / "b.safetensors",
        base=source,
        config=CONFIG.replace(num_classes=3),
    )
    assert report.steps[1] == "take_trained:head.bias, head.weight"


def test_base_of_our_own_keeps_its_config(tmp_path: Path) -> None:
    given = save_base(tmp_path / "base.safetensors")
    ours = tmp_path / "ours.safetensors"
    converters.convert(given, ours, config=CONFIG)
    report = converters.convert(
        GOLDENS / "other_head", tmp_path / "out.safetensors", base=ours
    )
    assert report.config.num_classes == 3
    close(load_file(tmp_path / "out.safetensors"), expected("other_head"))
    assert report.steps == report.config.source.steps


def test_base_folder_of_timm_is_read_by_its_config(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    save_base(folder / "model.safetensors")
    arguments = {
        **{"img_size": 8, "patch_size": 4, "embed_dim": 12, "depth": 2},
        **{"num_heads": 3, "mlp_ratio": 1.5},
    }
    fields = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 5,
        "num_features": 12,
        "label_names": list("abcde"),
        "model_args": arguments,
    }
    (folder / "config.json").write_text(json.dumps(fields))
    report = converters.convert(
        GOLDENS / "other_head", tmp_path / "out.safetensors", base=folder
    )
    assert report.config.num_classes == 3 and report.config.labels is None
    close(load_file(tmp_path / "out.safetensors"), expected("other_head"))


@pytest.mark.parametrize("start", ["model.", "encoder.vit."])
def test_base_may_have_a_prefix(start: str, tmp_path: Path) -> None:
    source = save_base(tmp_path / "base.safetensors", lambda name: start + name)
    out = tmp_path / "out.safetensors"
    converters.convert(GOLDENS / "plain", out, base=source, config=CONFIG)
    close(load_file(out), expected("plain"))


@pytest.mark.parametrize("file", [WEIGHTS, "adapter_model.bin"])
def test_weights_of_an_adapter_stand_for_its_folder(file: str, tmp_path: Path) -> None:
    folder = adapter("plain", tmp_path / "adapter")
    if file.endswith(".bin"):
        torch = pytest.importorskip("torch")
        arrays = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).unlink()
        torch.save({n: torch.tensor(v) for n, v in arrays.items()}, folder / file)
    source = save_base(tmp_path / "base.safetensors")
    out = tmp_path / "out.safetensors"
    converters.convert(folder / file, out, base=source, config=CONFIG)
    close(load_file(out), expected("plain"))
