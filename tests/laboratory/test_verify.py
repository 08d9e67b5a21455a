"""`verify`: what it sees, what it blames, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters import ConversionError
from converters.parity.record import ParityReport
from converters.parity.verify import verify
from tests.laboratory.common import FLAT, VOLUME, Weights, save
from vit_config import DataConfig, ViTConfig

QKV = "blocks.1.attn.qkv.weight"


def one_ulp(weights: Weights) -> None:
    weights[QKV][3, 5] = np.nextafter(weights[QKV][3, 5], np.float32(9))


def exchanged(weights: Weights) -> None:
    one, two = (f"blocks.{i}.mlp.fc1.weight" for i in (0, 2))
    weights[one], weights[two] = weights[two], weights[one]


def no_key_bias(weights: Weights) -> None:
    weights["blocks.0.attn.qkv.bias"][48:96] = 0


def other_sign(weights: Weights) -> None:
    weights["blocks.2.norm1.bias"] *= -1


def flipped_kernel(weights: Weights) -> None:
    kernel = weights["patch_embed.proj.weight"]
    weights["patch_embed.proj.weight"] = np.ascontiguousarray(kernel[..., ::-1])


def registers_exchanged(weights: Weights) -> None:
    weights["reg_token"] = np.ascontiguousarray(weights["reg_token"][:, ::-1])


def drawn_anew(weights: Weights) -> None:
    values = weights["blocks.1.mlp.fc2.weight"]
    drawn = np.random.default_rng(0).normal(size=values.shape) * values.std()
    weights["blocks.1.mlp.fc2.weight"] = drawn.astype(np.float32)


@pytest.mark.parametrize(
    ("change", "tensors", "words"),
    [
        (one_ulp, {QKV}, "one element, at (3, 5)"),
        (
            exchanged,
            {"blocks.0.mlp.fc1.weight", "blocks.2.mlp.fc1.weight"},
            "exchanged: blocks.0.mlp.fc1.weight holds blocks.2.mlp.fc1.weight",
        ),
        (no_key_bias, {"blocks.0.attn.qkv.bias"}, "differs in 48 of 144"),
        (other_sign, {"blocks.2.norm1.bias"}, "opposite sign"),
        (flipped_kernel, {"patch_embed.proj.weight"}, "reversed along axis 3"),
        (registers_exchanged, {"reg_token"}, "reversed along axis 1"),
        (drawn_anew, {"blocks.1.mlp.fc2.weight"}, "nothing in common"),
    ],
)
def test_other_weights_are_named_and_described(
    tmp_path: Path, change: Callable[[Weights], None], tensors: set[str], words: str
) -> None:
    a = save(tmp_path / "a.safetensors", FLAT)
    b = save(tmp_path / "b.keras", FLAT, change)
    found = verify(a, b, level="weights")
    assert found.verdict == "failed"
    assert {name for d in found.divergences for name in d.tensors} == tensors
    assert words in " ".join(d.explanation for d in found.divergences)
    assert {row.name for row in found.tensors if not row.equal} == tensors


@pytest.mark.parametrize("config", [FLAT, VOLUME])
def test_equal_models_pass_in_every_format(tmp_path: Path, config: ViTConfig) -> None:
    a = save(tmp_path / "a.safetensors", config)
    for name in ("b.keras", "b.safetensors"):
        found = verify(a, save(tmp_path / name, config), level="weights")
        assert found.verdict == "passed", found.sentence
        assert found.a.fingerprint == found.b.fingerprint
        assert all(row.equal for row in found.tensors)
        assert not found.divergences


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("norm_eps", 1e-5),
        ("act_layer", "gelu_tanh"),
        ("num_heads", 8),
        ("pool_include_prefix", True),
        ("head_act", "tanh"),
        ("drop_path_rate", 0.1),
    ],
)
def test_other_configs_are_named(tmp_path: Path, field: str, value: object) -> None:
    a = save(tmp_path / "a.safetensors", FLAT.replace(global_pool="avg"))
    b = save(tmp_path / "b.keras", FLAT.replace(global_pool="avg", **{field: value}))
    found = verify(a, b, level="weights")
    assert found.verdict == "failed"
    assert (field,) in [d.fields for d in found.divergences]


def test_other_and_lost_preprocessing_fails_and_added_is_told(tmp_path: Path) -> None:
    mean = DataConfig(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    off = DataConfig(mean=(0.5, 0.4, 0.31), std=(0.2, 0.2, 0.2))
    a = save(tmp_path / "a.safetensors", FLAT.replace(data=mean))
    other = verify(
        a, save(tmp_path / "b.keras", FLAT.replace(data=off)), level="weights"
    )
    assert other.verdict == "failed"
    assert [row.field for row in other.config] == ["data.mean"]
    bare = save(tmp_path / "c.keras", FLAT)
    lost = verify(a, bare, level="weights")
    assert lost.verdict == "failed"
    assert [d.fields for d in lost.divergences] == [("data",)]
    added = verify(bare, a, level="weights")
    assert added.verdict == "passed"
    told = [check for check in added.checks if check.name == "data"]
    assert "data.mean" in told[0].message


def test_other_labels_fail_without_being_told(tmp_path: Path) -> None:
    labels = tuple(f"secret {i}" for i in range(7))
    a = save(tmp_path / "a.safetensors", FLAT.replace(labels=labels))
    b = save(tmp_path / "b.keras", FLAT.replace(labels=labels[::-1]))
    none = save(tmp_path / "c.keras", FLAT)
    for other in (b, none):
        found = verify(a, other, level="weights")
        assert found.verdict == "failed"
        assert [d.fields for d in found.divergences] == [("labels",)]
        assert "secret" not in found.to_json()


def test_a_rounded_model_is_recognised_and_accepted_if_asked(tmp_path: Path) -> None:
    from converters import convert

    a = save(tmp_path / "a.safetensors", FLAT)
    b = tmp_path / "b.safetensors"
    convert(a, b, dtype="bfloat16")
    found = verify(a, b, level="weights")
    assert found.verdict == "failed"
    assert "B is A rounded to bfloat16, exactly" in found.checks[0].message
    limits = tmp_path / "criteria.json"
    limits.write_text('{"weights": "rounded"}')
    accepted = verify(a, b, level="weights", criteria=limits)
    assert accepted.verdict == "passed"
    assert len(accepted.setting.criteria_hash) == 64


def test_other_geometry_is_refused(tmp_path: Path) -> None:
    a = save(tmp_path / "a.safetensors", FLAT)
    b = save(tmp_path / "b.keras", FLAT.replace(img_size=(24, 16), num_classes=3))
    with pytest.raises(ConversionError) as error:
        verify(a, b)
    for words in ("img_size", "(24, 16)", "(16, 24)", "num_classes", "image_size="):
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": "deep"}, "level 'deep'; known are weights, logits"),
        ({"backends": ("theano",)}, "backend 'theano'; known are tensorflow"),
        ({"device": "tpu"}, "device 'tpu'; known are cpu, cuda"),
        ({"dtype": "int8"}, "dtype 'int8'"),
        ({"criteria": {"rms": 2.0}}, "rms  no such limit"),
        ({"criteria": {"rms_ratio": -1.0}}, "rms_ratio  found -1.0;  expected a"),
        ({"criteria": "missing.json"}, "missing.json"),
        ({"keras_python": "missing-python"}, "missing-python"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict, words: str) -> None:
    a = save(tmp_path / "a.safetensors", FLAT)
    with pytest.raises(ConversionError) as error:
        verify(a, a, **options)
    assert words in str(error.value)
    assert "conversion" not in str(error.value)


def test_a_missing_operand_says_which(tmp_path: Path) -> None:
    a = save(tmp_path / "a.safetensors", FLAT)
    with pytest.raises(ConversionError, match=r"B: nowhere\.keras"):
        verify(a, tmp_path / "nowhere.keras")


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> ParityReport:
    """A model and its Keras file, looked at as far as it goes."""
    folder = tmp_path_factory.mktemp("deep")
    return verify(
        save(folder / "a.safetensors", FLAT),
        save(folder / "b.keras", FLAT),
        level="training",
        backends=("torch",),
    )


def test_the_deepest_level_passes_and_names_what_it_checked(deep: ParityReport) -> None:
    assert deep.verdict == "passed", deep.sentence
    levels = {check.level for check in deep.checks if check.status == "passed"}
    assert levels >= {
        *("weights", "config", "logits", "layers", "gradients", "training", "reload"),
    }
    assert {check.meaning for check in deep.checks} >= {"weights", "reload", "twins"}
    taps = {row.name for row in deep.layers if row.mode == "forced"}
    assert {"patch_embed", "blocks.2.mlp.act", "norm", "head"} <= taps
    assert {row.name for row in deep.gradients} >= {"input", QKV, "cls_token"}
    assert {curve.optimizer for curve in deep.curves} == {"sgd", "adamw"}
    assert all(len(set(curve.loss)) > 1 for curve in deep.curves)


def test_keras_on_torch_gives_the_same_bits(deep: ParityReport) -> None:
    outputs = [check for check in deep.checks if check.level == "logits"]
    assert len(outputs) > 10
    assert all(check.same_bits for check in outputs)


def test_the_record_is_complete_and_tells_no_path(deep: ParityReport) -> None:
    text = deep.to_json()
    assert ParityReport.from_json(text) == deep
    assert "/tmp" not in text
    assert str(Path.home()) not in text
    assert deep.setting.versions.keys() >= {"vit-duet", "keras", "torch", "numpy"}
    json.loads(text)


def test_a_newer_record_is_refused(deep: ParityReport) -> None:
    newer = json.loads(deep.to_json()) | {"schema_version": 99}
    with pytest.raises(ConversionError, match="version 99"):
        ParityReport.from_json(json.dumps(newer))
    with pytest.raises(ConversionError, match="no verification record"):
        ParityReport.from_json("{}")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> ParityReport:
    """A Keras file whose config has another activation, and one other weight."""
    folder = tmp_path_factory.mktemp("broken")
    config = VOLUME.replace(act_layer="gelu_tanh")
    return verify(
        save(folder / "a.safetensors", VOLUME),
        save(folder / "b.keras", config),
        level="layers",
        backends=("torch",),
    )


def test_a_wrong_activation_is_found_where_it_begins(broken: ParityReport) -> None:
    assert broken.verdict == "failed"
    found = [d for d in broken.divergences if d.tap]
    assert [d.tap for d in found] == ["blocks.0.mlp.act"]
    assert found[0].fields == ("act_layer",)
    assert "act_layer = 'gelu_tanh'" in found[0].explanation
    assert len(found[0].index) == 3
    forced = [row.name for row in broken.layers if row.failed and row.mode == "forced"]
    assert set(forced) == {"blocks.0.mlp.act", "blocks.1.mlp.act"}


@pytest.mark.slow
def test_a_slightly_wrong_epsilon_is_named(tmp_path: Path) -> None:
    config = VOLUME.replace(norm_eps=1e-6)
    found = verify(
        save(tmp_path / "a.safetensors", config),
        save(tmp_path / "b.keras", config.replace(norm_eps=1.2e-6)),
        level="layers",
        backends=("torch",),
    )
    taps = [d for d in found.divergences if d.tap]
    assert [d.tap for d in taps] == ["blocks.0.norm1"]
    assert taps[0].fields == ("norm_eps",)
