"""Folders of timm whose model is made in code: the tensors say what JSON cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from converters.conversion.convert import convert
from converters.errors import ConversionError
from tests.dialects.common import same
from tests.dialects.test_folder_output import call
from tests.fill import fill_weights
from tests.parity.golden_cases import describe, goldens
from tests.vit_config.test_timm_names import RECORD, digest
from vit_config import ConfigError, ViTConfig
from vit_config.pathology import MODELS
from vit_config.presets import preset_names

GOLDEN = "timm_dinov2_swiglu"  # SwiGLUPacked with SiLU, as timm computes it
CARDS: dict[str, dict[str, Any]] = RECORD["pathology"]
CONFIG = ViTConfig.from_dict(describe(GOLDEN)["config"])


def folder(path: Path, config: ViTConfig = CONFIG, **changes: Any) -> Path:
    """A folder of which the code said MLP and activation, classes both."""
    arguments = describe(GOLDEN)["arguments"]
    del arguments["mlp_layer"]
    model_args = {**arguments, **changes}
    fields = {
        "architecture": "vit_tiny_patch16_224",
        "model_args": {k: v for k, v in model_args.items() if v is not ...},
        "pretrained_cfg": {"input_size": [3, 48, 32], "num_classes": 3},
    }
    path.mkdir()
    (path / "config.json").write_text(json.dumps(fields))
    save_file(fill_weights(config), path / "model.safetensors")
    return path


def test_gate_is_taken_from_the_tensors_and_computes_what_timm_does(
    tmp_path: Path,
) -> None:
    torch = pytest.importorskip("torch")
    import torch_vit

    source = folder(tmp_path / "hub")
    out = tmp_path / "out.safetensors"
    report = convert(source, out, changes={"act_layer": "silu"})
    assert same(load_file(out), fill_weights(CONFIG))
    assert "cannot say a gated MLP" in report.remarks[0]
    model = torch_vit.ViT.from_pretrained(out).eval()
    assert model.config.replace(pos_resize=None).architecture() == CONFIG.architecture()
    golden = next(g for g in goldens(GOLDEN) if g.kind == "noise")
    with torch.no_grad():
        found = model(torch.from_numpy(golden.x)).numpy()
    oracle, library = (part["output"] for part in (golden.oracle, golden.library))
    noise = np.sqrt(np.mean((library - oracle) ** 2))
    assert np.sqrt(np.mean((found[: len(oracle)] - oracle) ** 2)) <= 2 * noise


def test_activation_of_a_gate_is_asked_for_in_one_line(tmp_path: Path) -> None:
    source = folder(tmp_path / "hub")
    code, text = call("convert", source, tmp_path / "o.safetensors")
    assert code == 1 and not (tmp_path / "o.safetensors").exists()
    assert text.count("--set") == 1 and "--set act_layer=silu if that code" in text
    code, _ = call(
        "convert", source, tmp_path / "o.safetensors", "--set=act_layer=silu"
    )
    assert code == 0


def test_activation_that_the_folder_states_is_not_asked_for(tmp_path: Path) -> None:
    source = folder(tmp_path / "hub", act_layer="silu")
    assert convert(source, tmp_path / "o.safetensors").config.act_layer == "silu"


def test_another_activation_of_the_gate_is_refused(tmp_path: Path) -> None:
    source = folder(tmp_path / "hub")
    with pytest.raises(ConfigError, match="whose gate is 'silu'"):
        convert(source, tmp_path / "o.safetensors", changes={"act_layer": "gelu"})


@pytest.mark.parametrize("ratio", [1.0, 1.5, 4.0])
def test_gate_of_another_width_than_the_ratio_is_refused(
    tmp_path: Path, ratio: float
) -> None:
    source = folder(tmp_path / "hub", mlp_ratio=ratio)
    with pytest.raises(ConversionError, match="mlp_layer"):
        convert(source, tmp_path / "o.safetensors", changes={"act_layer": "silu"})


def test_gate_and_value_apart_have_the_whole_ratio_each(tmp_path: Path) -> None:
    source = folder(tmp_path / "hub", mlp_ratio=1.0)
    path = source / "model.safetensors"
    named = {}
    for name, values in load_file(path).items():
        if ".fc1." in name:
            gate, value = np.split(values, 2)
            named[name.replace("fc1", "fc1_g")] = gate
            named[name.replace("fc1", "fc1_x")] = value
        else:
            named[name] = values
    save_file(named, path)
    out = tmp_path / "out.safetensors"
    report = convert(source, out, changes={"act_layer": "silu"})
    assert report.source_dialect == "timm@swiglu"
    assert same(load_file(out), fill_weights(CONFIG))


def test_layer_scale_that_only_the_code_says_is_taken(tmp_path: Path) -> None:
    source = folder(tmp_path / "hub", act_layer="silu", init_values=...)
    report = convert(source, tmp_path / "out.safetensors")
    assert report.config.architecture()["init_values"] is not None
    assert "no layer scale, the tensors have one" in report.remarks[0]
    plain = CONFIG.replace(init_values=None)
    source = folder(tmp_path / "other", plain, act_layer="silu")
    with pytest.raises(ConversionError, match="init_values"):
        convert(source, tmp_path / "two.safetensors")


# ---- the models of pathology ------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_preset_is_the_model_that_timm_builds_from_the_card(name: str) -> None:
    config = ViTConfig.preset(name)
    card = CARDS[name]
    assert digest(config) == card["shapes"]
    assert config.norm_eps == card["eps"] and config.num_heads == card["heads"]
    assert config.num_prefix_tokens == card["prefix"]
    assert {"none": ""}.get(config.global_pool, config.global_pool) == card["pool"]
    assert {"silu": "SiLU", "gelu": "GELU"}[config.act_layer] == card["act"]
    assert {"swiglu": "GluMlp", "mlp": "Mlp"}[config.mlp_layer] == card["mlp"]
    assert config.source is not None and config.source.name == MODELS[name][2]["name"]
    assert config.data is not None and config.data.mean is not None


def test_every_pathology_model_is_a_preset_and_checked() -> None:
    assert set(MODELS) == set(CARDS) <= set(preset_names())


def test_preset_reads_a_file_without_a_config(tmp_path: Path) -> None:
    """A model of the card's kind, but small: what the preset adds is what is unsaid."""
    small = {"depth": 1, "embed_dim": 24, "num_heads": 3, "mlp_dim": 20}
    config = ViTConfig.preset("virchow2", **small, img_size=28)
    path = tmp_path / "pytorch_model.safetensors"
    save_file(fill_weights(config), path)
    changes = {**small, "img_size": 28}
    report = convert(
        path, tmp_path / "o.safetensors", preset="virchow2", changes=changes
    )
    assert report.config.architecture() == config.architecture()
    assert report.config.data == config.data
    assert report.config.source is not None
    assert report.config.source.licence == "cc-by-nc-nd-4.0"


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_timms_own_model_is_made_with_what_the_folder_cannot_say(
    tmp_path: Path,
) -> None:
    pytest.importorskip("timm")
    from converters import verify

    source = folder(tmp_path / "hub", init_values=...)
    out = tmp_path / "out.safetensors"
    changes = {"act_layer": "silu"}
    convert(source, out, changes=changes)
    record = verify(source, out, changes=changes, against_source=True)
    assert record.verdict == "passed", record.sentence
    assert any(check.meaning == "source" for check in record.checks)
