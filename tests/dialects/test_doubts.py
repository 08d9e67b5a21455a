"""Tensors that a plain ViT shares with a model that computes something else.

Rotary positions, windows and the place of a norm leave no tensor. Every file here has
the names of such a model, and none of them converts before the caller answers.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import converters
from converters import ConversionError
from converters.cli.app import app
from converters.libraries import NAMES, find, load
from converters.libraries.assumptions import TOPICS, Proof
from converters.libraries.doubts import unanswered
from converters.libraries.given import Given
from converters.libraries.listing import assumptions_page
from converters.libraries.variant import Doubt
from converters.mapping.pipe import MemorySource
from converters.sources.dialect_reader import Foreign
from converters.wording import field_value
from tests.fill import fill_weights
from vit_config import ViTConfig

Arrays = dict[str, np.ndarray]
BASE: dict[str, Any] = {
    "img_size": (12, 8),
    "patch_size": (4, 4),
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 36,
}
CLIP: dict[str, Any] = {**BASE, "pre_norm": True, "patch_bias": False, "norm_eps": 1e-5}
DEIT3: dict[str, Any] = {**BASE, "init_values": 1.0, "pos_embed_tokens": "patch"}
UNPOOLED = {"global_pool": "none", "final_norm": False}
SCALED = {"init_values": 1.0}
VOLUME = {**BASE, "spatial_dims": 3, "img_size": (4, 12, 8), "patch_size": (2, 4, 4)}
MAP: dict[str, Any] = {"class_token": False, "global_pool": "map"}
BARE: dict[str, Any] = {"class_token": False, "global_pool": "none"}

PE_LANG = ViTConfig(**CLIP, **SCALED, **UNPOOLED)

LOOKALIKES: dict[str, tuple[str, ViTConfig, dict[str, Any], str, str]] = {
    # dialect of the names, the plain model that has these tensors, what more is said,
    # the open field, and the model that is meant
    "timm PE core": (
        *("timm", ViTConfig(**CLIP, global_pool="map", num_classes=3)),
        *({"pool_include_prefix": True}, "rope", "Perception Encoder"),
    ),
    "timm PE spatial": (
        *("timm", ViTConfig(**CLIP, **UNPOOLED), {}, "rope", "Perception Encoder"),
    ),
    "timm PE lang": (
        *("facebook@deit3", PE_LANG.replace(norm_eps=1e-6), {}, "rope"),
        "Perception Encoder",
    ),
    "Meta PE lang": (
        *("openai_clip", PE_LANG.replace(global_pool="token")),
        *({"act_layer": "gelu"}, "rope", "Perception Encoder"),
    ),
    "RoPE-ViT with a table": (
        *("facebook@deit3", ViTConfig(**DEIT3, num_classes=3), {}, "rope", "RoPE-ViT"),
    ),
    "V-JEPA 2": (
        *("timm", ViTConfig(**VOLUME, **BARE, pos_embed="none")),
        *({"pos_embed": "none"}, "rope", "V-JEPA 2"),
    ),
    "V-JEPA 2 with a table that it does not read": (
        *("timm", ViTConfig(**VOLUME, **BARE, pos_embed="sincos"), {}, "rope"),
        "V-JEPA 2",
    ),
    "no table at all": (
        *("timm", ViTConfig(**BASE, pos_embed="none", num_classes=3)),
        *({"pos_embed": "none"}, "rope", "no position table"),
    ),
    "RF-DETR": (
        *("huggingface@dinov2-bare", ViTConfig(**BASE, **SCALED, global_pool="none")),
        *({}, "block", "RF-DETR"),
    ),
    "a Siglip tower without its pooling": (
        *("huggingface@siglip", ViTConfig(**BASE, **BARE)),
        *({}, "rope", "PaddleOCR-VL"),
    ),
    "ResPost": (
        "timm",
        ViTConfig(
            **{**BASE, "class_token": False, "qkv_bias": False, "global_pool": "avg"},
            **{"final_norm": False, "fc_norm": True, "num_classes": 3},
        ),
        *({}, "block", "rpn"),
    ),
}
ANSWERS = {"rope": None, "block": "plain"}


def named(config: ViTConfig, spec: str) -> Arrays:
    """Random weights under the names of a variant."""
    (variant, *_) = find(spec)[1]
    source = Foreign(MemorySource(fill_weights(config)), config, variant)
    return {name: source.read(name) for name in source.tensors}


def stated(config: ViTConfig, more: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("num_heads", "img_size", "norm_eps", "act_layer", "global_pool")
    return {**{name: getattr(config, name) for name in fields}, **more}


def lookalike(name: str, folder: Path) -> tuple[Path, ViTConfig, dict[str, Any]]:
    spec, config, more, _, _ = LOOKALIKES[name]
    path = folder / "a.safetensors"
    save_file(named(config, spec), path)
    return path, config, stated(config, more)


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_tensors_leave_open_is_asked_for_and_never_answered(
    name: str, tmp_path: Path
) -> None:
    *_, field, family = LOOKALIKES[name]
    path, config, changes = lookalike(name, tmp_path)
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConversionError, match=family) as caught:
        converters.convert(path, out, changes=changes)
    assert f'"{field}": VALUE' in caught.value.hint and not out.exists()
    answer = {field: ANSWERS[field]}
    report = converters.convert(path, out, changes={**changes, **answer})
    weights = fill_weights(config)
    found = load_file(out)
    assert found.keys() == weights.keys()
    assert all(np.array_equal(found[n], weights[n]) for n in weights)
    word = "null" if answer[field] is None else answer[field]
    assert f"{field}={word}" in str(report), "a statement of the caller's, on the paper"


@pytest.mark.parametrize("name", LOOKALIKES)
def test_no_line_of_advice_is_one_to_paste(name: str, tmp_path: Path) -> None:
    """Typed as it is printed it changes nothing: the file stays refused."""
    path, _, changes = lookalike(name, tmp_path)
    out = tmp_path / "out.safetensors"
    base = [f"--set={n}={field_value(v)}" for n, v in changes.items()]
    base = ["convert", str(path), str(out), *base, "--verify", "weights"]
    first = CliRunner().invoke(app, base)
    assert first.exit_code == 1
    (line,) = re.findall(r"State (?:it|them): (.*)", first.output)
    second = CliRunner().invoke(app, [*base, *shlex.split(line)])
    assert second.exit_code == 1 and not out.exists()
    assert "Traceback" not in second.output


@pytest.mark.parametrize("value", ["post", "windowed", 3])
def test_blocks_that_the_schema_does_not_hold_are_refused(
    value: Any, tmp_path: Path
) -> None:
    path, _, changes = lookalike("RF-DETR", tmp_path)
    out = tmp_path / "out.safetensors"
    with pytest.raises(ConversionError, match='only "plain"'):
        converters.convert(path, out, changes={**changes, "block": value})
    assert not out.exists()


def test_rotary_positions_that_are_stated_are_refused(tmp_path: Path) -> None:
    path, _, changes = lookalike("RoPE-ViT with a table", tmp_path)
    rope = {"kind": "dinov3", "theta": 100.0}
    with pytest.raises(ConversionError, match="cannot be converted yet"):
        converters.convert(
            path, tmp_path / "o.safetensors", changes={**changes, "rope": rope}
        )


PLAIN = {
    # names, and a plain model in the order in which the library makes its parts
    "vit": ("timm", ViTConfig(**BASE, num_classes=3)),
    "mean with its norm": (
        "timm",
        ViTConfig(
            **{**BASE, "final_norm": False, "fc_norm": True, "global_pool": "avg"},
            num_classes=3,
        ),
    ),
    "registers": ("timm", ViTConfig(**BASE, reg_tokens=2, num_classes=3)),
    "CLIP": ("openai_clip", ViTConfig(**CLIP, num_classes=5, head_bias=False)),
    "DINOv2": ("facebook@dinov2", ViTConfig(**BASE, **SCALED, pos_embed_tokens="cls")),
    "Siglip": (
        "huggingface@siglip",
        ViTConfig(**BASE, **MAP),
    ),
    "Hugging Face": ("huggingface@vit", ViTConfig(**BASE, num_classes=3)),
    "torchvision": ("torchvision", ViTConfig(**BASE, num_classes=3)),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_models_are_asked_nothing_more(name: str, tmp_path: Path) -> None:
    spec, config = PLAIN[name]
    save_file(named(config, spec), tmp_path / "a.safetensors")
    out = tmp_path / "out.safetensors"
    converters.convert(tmp_path / "a.safetensors", out, changes=stated(config, {}))
    weights = fill_weights(config)
    assert all(np.array_equal(v, weights[n]) for n, v in load_file(out).items())


def test_a_preset_answers_where_plain_models_have_the_tensors(tmp_path: Path) -> None:
    small = {"architecture": "deit3_small_patch16_224", "num_classes": 3}
    config = ViTConfig.from_dialect("timm", small).replace(depth=12)
    path = tmp_path / "a.safetensors"
    arrays = named(config, "facebook@deit3")
    save_file(arrays, path)
    out = tmp_path / "out.safetensors"
    report = converters.convert(path, out, preset="deit3_small_patch16_224")
    assert report.config.architecture() == config.architecture()


def test_a_preset_of_ours_answers_where_plain_models_have_the_tensors_too() -> None:
    shared = Doubt("rope", "two kinds of model have them", plain_too=True)
    foreign = Doubt("rope", "no plain model has them", "another model")
    preset = Given(preset="vit-s16-224")
    assert unanswered([shared, foreign], preset) == [foreign]
    assert unanswered([shared, foreign], Given()) == [shared, foreign]
    stated = Given(changes={"rope": None})
    assert unanswered([shared, foreign], stated) == []


def test_a_config_of_ours_answers_only_by_what_stands_in_it(tmp_path: Path) -> None:
    """A field that JSON leaves to its default proves nothing about another's file."""
    path, config, _ = lookalike("RoPE-ViT with a table", tmp_path)
    out = tmp_path / "out.safetensors"
    fields = config.to_dict()
    converters.convert(path, out, config=fields, force=True)
    del fields["rope"]
    with pytest.raises(ConversionError, match="RoPE-ViT"):
        converters.convert(path, out, config=fields, force=True)
    converters.convert(path, out, config=fields, changes={"rope": None}, force=True)


VARIANTS = [variant for name in NAMES for variant in load(name).variants]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_variant_says_what_it_assumes_and_what_proves_it(variant: Any) -> None:
    assert set(variant.assumes) == set(TOPICS)
    for topic, assumption in variant.assumes.items():
        assert assumption.proof in get_args(Proof), topic
        assert assumption.value, topic
        assert assumption.why or assumption.proof == "asked", topic


def test_the_page_of_assumptions_is_what_the_dialects_state() -> None:
    page = Path(__file__).parents[2] / "docs" / "assumptions.md"
    assert page.read_text("utf-8") == assumptions_page()
