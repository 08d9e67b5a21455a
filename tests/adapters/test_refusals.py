"""What is no LoRA, or does not fit its base, is named; nothing is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import converters
from converters.cli.app import app
from converters.errors import ConversionError
from converters.sources.adapters.lora_config import _OFF
from tests.adapters.common import (
    CONFIG,
    FILE,
    GOLDENS,
    WEIGHTS,
    adapter,
    save_base,
)


def refused(source: Path, tmp_path: Path, text: str, **options: Any) -> str:
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConversionError, match=text) as caught:
        converters.convert(source, out, **{"config": CONFIG, **options})
    assert not out.exists()
    return str(caught.value)


def with_base(source: Path, tmp_path: Path, text: str) -> str:
    base = save_base(tmp_path / "base.safetensors")
    return refused(source, tmp_path, text, base=base)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"base_model_name_or_path": "org/vit"}, "--base hf://org/vit"),
        (
            {"base_model_name_or_path": "org/vit", "revision": "v2"},
            "--base hf://org/vit@v2",
        ),
        ({"base_model_name_or_path": "/data/my vit"}, "--base '/data/my vit'"),
        ({"base_model_name_or_path": None}, "--base BASE"),
    ],
)
def test_adapter_without_base_prints_the_line(
    fields: dict[str, Any], line: str, tmp_path: Path
) -> None:
    source = adapter("plain", tmp_path / "adapter", **fields)
    out = str(tmp_path / "out.safetensors")
    result = CliRunner().invoke(app, ["convert", str(source), out])
    assert result.exit_code == 1
    assert "a PEFT adapter without its base" in result.output
    assert result.output.rstrip().endswith(line)
    in_python = refused(source, tmp_path, "without its base")
    assert 'base="' in in_python and "--base" not in in_python


@pytest.mark.parametrize("field", sorted(_OFF))
def test_field_that_changes_the_update_is_refused(field: str, tmp_path: Path) -> None:
    source = adapter("plain", tmp_path / "adapter", **{field: {"a": 1}})
    with_base(source, tmp_path, f"{field} .*merge_and_unload|{field}")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"peft_type": "LOHA"}, "peft_type .*'LOHA'.*expected 'LORA'"),
        ({"peft_type": None}, "peft_type .*None"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights .*'pissa': it changes"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights"),
        ({"init_lora_weights": "of next year"}, "init_lora_weights"),
        ({"field_of_next_year": 1}, "field_of_next_year .*not known"),
        ({"r": None}, "r  found None; +expected an integer"),
        ({"lora_alpha": None}, "lora_alpha  found None; +expected a number"),
        ({"lora_alpha": "16"}, "lora_alpha"),
        ({"r": 4}, r"update of rank 3; +expected rank 4, as adapter_config\.json"),
        ({"rank_pattern": {"qkv": 2}}, "update of rank 3; +expected rank 2"),
        ({"rank_pattern": {"(": 2}}, "rank_pattern"),
        ({"use_dora": True}, "use_dora  True, and no lora_magnitude_vector"),
        ({"target_modules": ["proj", "kv"]}, "target_modules .*attn.qkv has an update"),
        ({"bias": "sometimes"}, "bias .*'sometimes'"),
    ],
)
def test_config_that_is_not_the_adapters_is_refused(
    fields: dict[str, Any], text: str, tmp_path: Path
) -> None:
    source = adapter("plain", tmp_path / "adapter", **fields)
    with_base(source, tmp_path, text)


@pytest.mark.parametrize(
    ("name", "fields", "text"),
    [
        ("dora", {"use_dora": False}, "use_dora  False, and a lora_magnitude_vector"),
        ("other_head", {"modules_to_save": None}, "head.weight .*modules_to_save"),
        ("own_biases", {"bias": "none"}, "fc2.bias .*modules_to_save nor bias"),
    ],
)
def test_tensors_that_the_config_does_not_say_are_refused(
    name: str, fields: dict[str, Any], text: str, tmp_path: Path
) -> None:
    source = adapter(name, tmp_path / "adapter", **fields)
    with_base(source, tmp_path, text)


@pytest.mark.parametrize("value", [True, False, "gaussian", "eva", "orthogonal"])
def test_start_that_leaves_the_base_alone_is_taken(value: Any, tmp_path: Path) -> None:
    source = adapter("plain", tmp_path / "adapter", init_lora_weights=value)
    base = save_base(tmp_path / "base.safetensors")
    out = tmp_path / "out.safetensors"
    converters.convert(source, out, base=base, config=CONFIG)


def changed(path: Path, change: Any) -> None:
    arrays = load_file(path / WEIGHTS)
    save_file(change(arrays), path / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a: {n: v for n, v in a.items() if "0.attn.qkv.lora_B" not in n},
         r"missing .*blocks\.0\.attn\.qkv\.lora_B"),
        (lambda a: {n.replace("qkv", "query"): v for n, v in a.items()},
         "attn.query.weight .*not in the base base.safetensors"),
        (lambda a: {**a, "base_model.model.pos_embed": np.zeros((1, 5, 12), "f")},
         "pos_embed .*in neither modules_to_save nor bias"),
        (lambda a: {n: v[:, :-1].copy() if "lora_A" in n else v for n, v in a.items()},
         "shape +blocks.{0-1}.attn.qkv.weight .*lora_A .3, 11"),
        (lambda a: {n.replace("lora_A", "lora_E"): v for n, v in a.items()},
         "AdaLoRA"),
        (lambda a: {n.replace("lora_A.weight", "hada_w1_a"): v for n, v in a.items()},
         "LoHa"),
    ],
)  # fmt: skip
def test_tensors_that_are_no_update_of_the_base_are_refused(
    change: Any, text: str, tmp_path: Path
) -> None:
    source = adapter("plain", tmp_path / "adapter")
    changed(source, change)
    with_base(source, tmp_path, text)


def test_attention_of_torch_is_refused(tmp_path: Path) -> None:
    """peft 0.21 adds the update of its output projection twice, in the forward, too."""
    base = tmp_path / "base.safetensors"
    save_base(base, lambda n: n.replace("attn.qkv.weight", "attn.in_proj_weight"))
    source = adapter("plain", tmp_path / "adapter")
    changed(source, lambda a: {n.replace("attn.qkv", "attn"): v for n, v in a.items()})
    refused(source, tmp_path, "MultiheadAttention", base=base)


def test_unmerged_file_without_its_config_says_how(tmp_path: Path) -> None:
    source = tmp_path / "full.safetensors"
    shutil.copy(GOLDENS / "dora" / "unmerged.safetensors", source)
    text = refused(source, tmp_path, "not merged, and no adapter_config.json")
    assert "model = model.merge_and_unload(); torch.save(" in text
    (tmp_path / FILE).write_text(json.dumps({"peft_type": "LORA", "r": 2}))
    refused(source, tmp_path, "lora_alpha .*a number")


def test_several_adapters_in_a_file_are_refused(tmp_path: Path) -> None:
    arrays = load_file(GOLDENS / "dora" / "unmerged.safetensors")
    more = {n.replace(".default.", ".second."): v for n, v in arrays.items()}
    save_file({**arrays, **more}, tmp_path / "full.safetensors")
    shutil.copy(GOLDENS / "dora" / FILE, tmp_path)
    refused(tmp_path / "full.safetensors", tmp_path, r"several adapters \(default, sec")


def test_base_without_adapter_is_refused(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base.safetensors")
    refused(base, tmp_path, "is for a PEFT adapter, and this is none", base=base)


def test_base_that_would_be_overwritten_is_refused(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base.safetensors")
    before = base.read_bytes()
    with pytest.raises(ConversionError, match="the source itself"):
        converters.convert(
            GOLDENS / "plain", base, base=base, config=CONFIG, force=True
        )
    assert base.read_bytes() == before
