"""An adapter means names in memory; files of its base have others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import converters
from converters.sources.adapters.names import fitted
from tests.dialects.test_folder import MODELS, folder

GENERATIONS = {name: entry["generations"] for name, entry in MODELS.items()}


@pytest.mark.parametrize("name", sorted(GENERATIONS))
def test_names_in_memory_find_the_same_tensor_in_the_file(name: str) -> None:
    memory, saved = GENERATIONS[name]["memory"], GENERATIONS[name]["saved"]
    layers = [n for n in memory if "layer" in n and not n.startswith("decoder")]
    halves = ("gate_proj.weight", "up_proj.weight")  # one tensor in files
    wanted = [
        n
        for n in layers
        if n.endswith(".weight") and len(memory[n][0]) == 2 and not n.endswith(halves)
    ]
    found = fitted(saved, wanted)
    assert found is not None and wanted
    for layer in wanted:  # recorded are shape and hash of the values
        assert saved[found[layer]] == memory[layer]
    assert len(set(found.values())) == len(found) == len(saved)


@pytest.mark.parametrize(
    "base",
    [
        {"a.fc.weight", "b.a.fc.weight"},
        {"q.fc.weight", "r.fc.weight"},
    ],
)
def test_names_that_fit_in_two_ways_are_not_chosen_from(base: set[str]) -> None:
    assert fitted(base, ["fc.weight"]) is None


def lora(path: Path, module: str, head: tuple[int, int], fields: Any) -> Path:
    """An adapter of one layer and a head, with random values."""
    path.mkdir()
    rng = np.random.default_rng(3)
    width = head[1]
    shapes = {
        f"{module}.lora_A.weight": (2, width),
        f"{module}.lora_B.weight": (width, 2),
        "classifier.weight": head,
        "classifier.bias": head[:1],
    }
    arrays = {
        f"base_model.model.{name}": rng.standard_normal(shape, dtype=np.float32)
        for name, shape in shapes.items()
    }
    save_file(arrays, path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, **fields}
    config["modules_to_save"] = ["classifier"]
    (path / "adapter_config.json").write_text(json.dumps(config))
    return path


TRANSFORMERS = {
    "auto_mapping": {
        "base_model_class": "ViTForImageClassification",
        "parent_library": "transformers.models.vit.modeling_vit",
    }
}


@pytest.mark.parametrize(
    "module",
    ["vit.layers.1.attention.q_proj", "vit.encoder.layer.1.attention.attention.query"],
    ids=["transformers 5", "transformers 4"],
)
def test_adapter_of_a_classifier_takes_a_bare_model(
    module: str, tmp_path: Path
) -> None:
    source, config = folder(tmp_path / "base", "ViTModel")
    width = config.embed_dim
    path = lora(tmp_path / "adapter", module, (7, width), TRANSFORMERS)
    report = converters.convert(path, tmp_path / "out.safetensors", base=source)
    assert report.config.num_classes == 7 and report.config.global_pool == "token"
    assert {n for n in report.dropped if "pooler" in n}
    before = load_file(source / "model.safetensors")
    factors = load_file(path / "adapter_model.safetensors")
    after = load_file(tmp_path / "out.safetensors")
    down, up = (
        factors[f"base_model.model.{module}.lora_{part}.weight"].astype("f8")
        for part in "AB"
    )
    query = before["encoder.layer.1.attention.attention.query.weight"]
    merged = (query + 8 / 2 * up @ down).astype("f4")
    np.testing.assert_array_equal(after["blocks.1.attn.qkv.weight"][:width], merged)
    key = before["encoder.layer.1.attention.attention.key.weight"]
    np.testing.assert_array_equal(
        after["blocks.1.attn.qkv.weight"][width : 2 * width], key
    )
    head = factors["base_model.model.classifier.weight"]
    np.testing.assert_array_equal(after["head.weight"], head)


def test_labels_of_another_head_are_not_carried_over(tmp_path: Path) -> None:
    source, config = folder(tmp_path / "base", "ViTForImageClassification")
    fields = json.loads((source / "config.json").read_text())
    fields["id2label"] = {str(i): f"class {i}" for i in range(config.num_classes)}
    fields["label2id"] = {v: int(k) for k, v in fields["id2label"].items()}
    (source / "config.json").write_text(json.dumps(fields))
    module = "vit.layers.0.attention.v_proj"
    for rows, labels in ((config.num_classes, True), (config.num_classes + 2, False)):
        name = f"adapter-{rows}"
        path = lora(tmp_path / name, module, (rows, config.embed_dim), TRANSFORMERS)
        report = converters.convert(
            path, tmp_path / f"{rows}.keras", base=source, verify="weights"
        )
        assert report.config.num_classes == rows
        assert (report.config.labels is not None) == labels
