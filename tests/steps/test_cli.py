"""The steps on the command line: what is printed, and the pages that show it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pages import call, examples, shown
from tests.steps.common import write
from vit_config import ViTConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "steps.md"

CONFIG = ViTConfig(
    img_size=224,
    patch_size=16,
    embed_dim=48,
    depth=2,
    num_heads=3,
    mlp_dim=192,
    num_classes=10,
    pos_resize="bicubic_aa",
    init_values=1e-5,
)
"""The model of the page's examples."""


EXAMPLES = examples(PAGE)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("line", "output"), EXAMPLES)
def test_page_shows_what_is_printed(line, output, tmp_path):
    write(tmp_path / "vit.safetensors", CONFIG)
    result = call(line)
    assert shown(result.output) == shown(output)


def test_page_has_examples():
    assert len(EXAMPLES) > 5


OPTIONS = {
    "--output pooled": "output:logits->pooled",
    "--num-classes 3 --seed 9": "num_classes:10->3:seed=9",
    "--in-chans 1": "in_chans:3->1:sum",
    "--inflate center --depth 16 --patch-depth 8 --inflate-axis 2": (
        "inflate:center:axis=2:depth=16:patch_depth=8"
    ),
    "--patch-size 32": "patch_size:16x16->32x32:bicubic_aa",
    "--image-size 384x256": "image_size:224x224->384x256:bicubic_aa",
    "--dtype bfloat16": "cast_bfloat16",
}


@pytest.mark.parametrize("options", OPTIONS)
def test_every_option_reaches_its_step(options, tmp_path):
    write(tmp_path / "vit.safetensors", CONFIG)
    line = f"convert vit.safetensors out.safetensors --json {options}"
    result = call(line)
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["steps"][0] == OPTIONS[options]
    assert report["config"]["source"]["steps"] == report["steps"]
    assert report["effects"][0]["step"] == OPTIONS[options]
    assert report["ok"] and report["proved"] == report["tensors"]


def test_missing_and_fold_reach_their_steps(tmp_path):
    from tests.steps.common import weights

    config = CONFIG.replace(norm_eps=1e-5, head_act="tanh")
    arrays = weights(config)
    del arrays["head.bias"]
    write(tmp_path / "vit.safetensors", config, arrays)
    line = "convert vit.safetensors out.safetensors --json --to monai"
    result = call(f"{line} --allow-missing head.bias --fold")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["steps"] == [
        "allow_missing:head.bias:seed=0",
        "fold_cls_pos",
        "fold_layer_scale",
    ]


@pytest.mark.parametrize(
    "options",
    ["--image-size 225", "--output features", "--dtype int8", "--depth 4", "--seed -1"],
)
def test_refusals_exit_1_and_write_nothing(options, tmp_path):
    write(tmp_path / "vit.safetensors", CONFIG)
    result = call(f"convert vit.safetensors out.safetensors {options}")
    assert result.exit_code == 1
    assert "nothing written" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["vit.safetensors"]
