"""Folders of open_clip, read by their own config."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import converters
from converters.errors import ConversionError
from converters.sources.hub import chosen
from tests.dialects.test_real_files import case_of
from tests.fill import fill
from vit_config import ConfigError, ViTConfig

FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
)


def folder(path: Path, name: str, file: str = FILES[0]) -> tuple[Path, dict[str, Any]]:
    """A folder as `save_for_hf` makes it, of a model that open_clip recorded."""
    case = deepcopy(case_of(f"open_clip_{name}"))  # others read it, too
    arrays = {n: np.asarray(fill(n, tuple(s))) for n, s in case["tensors"].items()}
    path.mkdir()
    if file.endswith(".bin"):
        torch = pytest.importorskip("torch")
        torch.save({n: torch.tensor(v) for n, v in arrays.items()}, path / file)
    else:
        save_file(arrays, path / file)
    fields = {**case["ask"]["config"], "preprocess_cfg": {"resize_mode": "squash"}}
    (path / "open_clip_config.json").write_text(json.dumps(fields))
    return path, fields


@pytest.mark.parametrize("name", ["scaled", "clipa", "trunk_mean", "trunk_head"])
@pytest.mark.parametrize("file", FILES)
def test_folder_is_read_by_its_own_config(name: str, file: str, tmp_path: Path) -> None:
    source, fields = folder(tmp_path / "hub", name, file)
    report = converters.convert(source, tmp_path / "out.safetensors")
    assert report.source_dialect == case_of(f"open_clip_{name}")["dialect"]
    wanted = ViTConfig.from_dialect("openai_clip", fields)
    assert report.config.architecture() == wanted.architecture()
    assert report.config.data == wanted.data is not None


def test_config_at_odds_with_the_tensors_is_refused(tmp_path: Path) -> None:
    source, fields = folder(tmp_path / "hub", "scaled")
    fields["model_cfg"]["vision_cfg"]["layers"] += 1
    (source / "open_clip_config.json").write_text(json.dumps(fields))
    with pytest.raises(ConversionError, match="depth"):
        converters.convert(source, tmp_path / "out.safetensors")
    fields["model_cfg"]["vision_cfg"] |= {"layers": 2, "qk_norm": True}
    (source / "open_clip_config.json").write_text(json.dumps(fields))
    with pytest.raises(ConfigError, match="qk_norm"):
        converters.convert(source, tmp_path / "out.safetensors")


def test_layout_of_clipa_is_never_guessed(tmp_path: Path) -> None:
    """No tensor says whether the mean is taken before or behind the norm."""
    source, fields = folder(tmp_path / "hub", "clipa")
    (source / "open_clip_config.json").unlink()
    file = source / FILES[0]
    with pytest.raises(ConversionError, match="give the folder with its open_clip"):
        converters.convert(file, tmp_path / "out.safetensors", config=fields)
    told = converters.convert(
        file,
        tmp_path / "out.safetensors",
        config=fields,
        from_dialect="openai_clip@clipa",
    )
    assert told.config.fc_norm and not told.config.final_norm


def test_hub_sends_what_open_clip_reads() -> None:
    names = ["README.md", "open_clip_config.json", "tokenizer.json", *FILES[:2]]
    found = chosen(names, None, "org/name")
    assert found == [FILES[0], "open_clip_config.json", "README.md"]
    both = [*names, "config.json", "model.safetensors"]
    assert chosen(both, None, "org/name")[0] == "model.safetensors"
