"""Each law of the demo fails on its own, and none on a clean pair."""

import dataclasses
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from converters.demo.compare import (
    Reference,
    first_divergence,
    identical_tensors,
    judge,
)
from converters.demo.report import DemoReport, LayerError, table
from converters.demo.task import Recipe, Split, Task
from converters.judging.rms import EPS32, compare_rms, rms
from converters.workers.process import Answer
from vit_config import ViTConfig

COUNT, CLASSES = 200, 4
CONFIG = ViTConfig(
    img_size=4,
    patch_size=2,
    in_chans=1,
    embed_dim=8,
    depth=1,
    num_heads=2,
    mlp_dim=8,
    num_classes=CLASSES,
)


def rounded(values, rng, size=1.0):
    noise = rng.normal(scale=1e-6 * size, size=values.shape)
    return (values + noise).astype(np.float32)


@pytest.fixture
def case(tmp_path):
    """A case in which every law holds."""
    rng = np.random.default_rng(0)
    labels = np.arange(COUNT) % CLASSES
    oracle = rng.normal(size=(COUNT, CLASSES)) + 9 * np.eye(CLASSES)[labels]
    x = np.zeros((COUNT, 1, 4, 4), np.float32)
    layers = {name: rng.normal(size=(64, 8)) for name in ("pos_embed", "norm", "head")}
    expected = Reference(
        single=rounded(oracle, rng),
        oracle=oracle,
        single_layers={name: rounded(value, rng) for name, value in layers.items()},
        oracle_layers=layers,
        predict=lambda logits: logits.argmax(-1),
    )
    answer = Answer(
        outputs=rounded(oracle, rng),
        layers={name: rounded(value, rng) for name, value in layers.items()},
        load_seconds=0.5,
    )
    task = Task(
        name="toy",
        title="",
        held_out="",
        config=CONFIG,
        split=Split(x, labels, x, labels),
        recipe=Recipe(epochs=1, noise=0.0),
        bar=0.9,
        chance=0.25,
    )
    files = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    for file in files:
        save_file({"w": np.arange(6.0, dtype=np.float32), "b": np.ones(2)}, file)
    return {
        "task": task,
        "mode": "classes",
        "expected": expected,
        "answer": answer,
        "files": files,
    }


def test_a_clean_pair_passes(case):
    report = judge(**case)
    assert report.failures == ()
    assert (report.same, report.inputs) == (COUNT, COUNT)
    assert (report.identical, report.tensors) == (2, 2)
    assert 0.8 < report.ratio < 1.2
    assert [layer.name for layer in report.layers] == ["pos_embed", "norm", "head"]


def test_larger_errors_fail_and_name_the_layer(case):
    rng = np.random.default_rng(1)
    expected, answer = case["expected"], case["answer"]
    answer = dataclasses.replace(
        answer,
        outputs=rounded(expected.oracle, rng, 3),
        layers=answer.layers
        | {"norm": rounded(expected.oracle_layers["norm"], rng, 3)},
    )
    (failure,) = judge(**case | {"answer": answer}).failures
    assert "times the noise, at most 2 is rounding; it begins at norm" in failure


def test_one_other_prediction_fails(case):
    outputs = case["answer"].outputs.copy()
    outputs[7] = outputs[7, ::-1]
    answer = dataclasses.replace(case["answer"], outputs=outputs)
    report = judge(**case | {"answer": answer})
    assert f"1 of {COUNT} predictions differ" in report.failures
    assert report.same == COUNT - 1


def test_a_low_accuracy_fails_where_there_is_a_bar(case):
    task = dataclasses.replace(case["task"], bar=1.01)
    (failure,) = judge(**case | {"task": task}).failures
    assert failure == "accuracy 100.0 %, below the bar of 101.0 %"
    features = judge(**case | {"task": task, "mode": "features"})
    assert features.bar is None and features.failures == ()


def test_not_a_number_fails(case):
    outputs = np.full_like(case["answer"].outputs, np.nan)
    answer = dataclasses.replace(case["answer"], outputs=outputs)
    failures = judge(**case | {"answer": answer, "mode": "features"}).failures
    assert any("error nan times the noise" in line for line in failures)
    assert any("largest error nan" in line for line in failures)


def test_one_far_token_fails(case):
    outputs = case["answer"].outputs.copy()
    outputs[3, 1] += 2e-5
    answer = dataclasses.replace(case["answer"], outputs=outputs)
    assert judge(**case | {"answer": answer}).failures == ()  # logits: reported only
    (failure,) = judge(**case | {"answer": answer, "mode": "features"}).failures
    assert failure.startswith("largest error ")


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"w": np.float32([0, 1, 2, 3, 4, 5.000001])}, (1, 2)),
        ({"w": np.float32([-0.0, 1, 2, 3, 4, 5])}, (1, 2)),
        ({"w": np.arange(6.0)}, (1, 2)),
        ({"w": np.arange(6.0, dtype=np.float32).reshape(2, 3)}, (1, 2)),
        ({"extra": np.ones(1)}, (2, 3)),
    ],
    ids=["value", "sign of zero", "type", "shape", "extra"],
)
def test_a_tensor_that_came_back_changed_fails(case, change, counts):
    first, second = case["files"]
    save_file({"w": np.arange(6.0, dtype=np.float32), "b": np.ones(2)} | change, second)
    assert identical_tensors(first, second) == counts
    (failure,) = judge(**case).failures
    assert failure == f"1 of {counts[1]} tensors came back changed"


def test_first_divergence():
    fine, bad = LayerError("a", 1e-7, 1e-7), LayerError("b", 3e-7, 1e-7)
    assert first_divergence((fine, bad)) == "; it begins at b"
    assert first_divergence((fine,)) == ""
    assert first_divergence((LayerError("c", math.nan, 1e-7),)) == "; it begins at c"


def test_the_rms_rule_is_its_formula():
    rng = np.random.default_rng(2)
    oracle = rng.normal(size=(64, 10))
    reference, given = rounded(oracle, rng), rounded(oracle, rng, 1.5)
    found = compare_rms(given, reference, oracle)
    assert found.ratio == pytest.approx(rms(given - oracle) / rms(reference - oracle))
    lucky = oracle.astype(np.float32).astype(np.float64)
    exact = lucky.astype(np.float32)
    found = compare_rms(exact * np.float32(1 + 2**-22), exact, lucky)
    assert found.noise == 0
    assert found.ratio == pytest.approx(2**-22 / EPS32, rel=0.2)
    zeros = np.zeros((2, 2))
    assert compare_rms(zeros.astype("f4"), zeros.astype("f4"), zeros).ratio == 0
    assert (
        compare_rms(zeros.astype("f4") + 1, zeros.astype("f4"), zeros).ratio == math.inf
    )


def test_the_rms_rule_refuses_what_it_cannot_compare():
    oracle = np.zeros((2, 3))
    single = oracle.astype(np.float32)
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        compare_rms(single[:, :2], single, oracle)
    with pytest.raises(ValueError, match="oracle float32"):
        compare_rms(single, single, single)
    with pytest.raises(ValueError, match="outputs of float64"):
        compare_rms(oracle, single, oracle)


def test_the_report_is_data_and_a_narrow_table(case):
    from rich.console import Console

    cases = (judge(**case), judge(**case | {"mode": "features"}))
    report = DemoReport(cases, "jax", "3", "2", False, 1.0)
    assert report.ok and report.to_dict()["ok"]
    assert not DemoReport((), "jax", "3", "2", False, 1.0).ok
    for plain in (True, False):
        console = Console(width=80, force_terminal=not plain, color_system=None)
        with console.capture() as capture:
            console.print(table(report, plain=plain))
        lines = capture.get().splitlines()
        assert max(map(len, lines)) <= 80
        assert any("toy, features" in line and "200/200" in line for line in lines)
        assert plain == (not any("─" in line for line in lines))
