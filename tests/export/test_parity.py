"""The judge of artifacts finds what is wrong; no model is run here."""

from __future__ import annotations

import json

import numpy as np
import pytest

from converters import ConversionError
from converters.artifacts.contents import Contents
from converters.artifacts.parity import batches_of, cases, judged, limit_of
from converters.runtimes.rounding import rounding_limit
from tests.cases import CASES
from tests.export.common import LABELS, pictured

COUNT = 64


def contents(**changes) -> Contents:
    return Contents(
        pictured(labels=LABELS, data=None, **changes),
        "saved_model",
        False,
        "f" * 64,
        "float32",
    )


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def answers(held: Contents):
    """A correct artifact's, and the reference's: each has rounding of its own."""
    rng = np.random.default_rng(1)
    theirs, ours = {}, {}
    for name, key, width in (("logits", "outputs", 3), ("embedding", "pooled", 24)):
        exact = rng.standard_normal((COUNT, width))
        theirs[f"exact:set:noise:{key}"] = exact
        for to, at in ((theirs, f"set:noise:{key}"), (ours, f"serving_default:{name}")):
            noise = rng.standard_normal(exact.shape) * 1e-7
            to[at] = (exact + noise).astype(np.float32)
    odds = softmax(ours["serving_default:logits"].astype(np.float64))
    ours["serving_default:probabilities"] = odds.astype(np.float32)
    ours["serving_default:label"] = np.array(LABELS)[odds.argmax(-1)]
    return ours, theirs, {"facts": held.facts_json()}


def test_rounding_passes():
    held = contents()
    figures = judged(held, *answers(held))
    assert [f.output for f in figures] == ["logits", "embedding"]
    assert all(0.7 < f.ratio < 1.4 and f.passed and f.limit == 2 for f in figures)


def off(name, change):
    def broken(ours, said):
        ours[f"serving_default:{name}"] = change(ours[f"serving_default:{name}"])

    return broken


BROKEN = {
    "classes swapped": ("logits", off("logits", lambda x: x[:, ::-1])),
    "three times the noise": ("logits", off("logits", lambda x: x + np.float32(3e-7))),
    "one NaN": (
        "embedding",
        off("embedding", lambda x: np.where(x == x[3, 5], np.nan, x)),
    ),
    "one batch is another's": (
        "embedding",
        off("embedding", lambda x: np.roll(x, 1, 0)),
    ),
    "of another shape": ("embedding", off("embedding", lambda x: x[:, :-1])),
    "wider": ("logits", off("logits", lambda x: x.astype(np.float64))),
    "a little more likely": (
        "probabilities",
        off("probabilities", lambda p: p + np.float32(3e-6)),
    ),
    "labels shifted": ("label", off("label", lambda s: np.roll(s, 1))),
    "an output more": (
        "serving_default",
        lambda ours, said: ours.update({"serving_default:more": np.zeros(COUNT)}),
    ),
    "an output less": (
        "serving_default",
        lambda ours, said: ours.pop("serving_default:embedding"),
    ),
    "facts of another": ("say of itself", lambda ours, said: said.update(facts="{}")),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_wrong_is_found_and_named(what):
    held = contents()
    ours, theirs, said = answers(held)
    named, broken = BROKEN[what]
    broken(ours, said)
    with pytest.raises(ConversionError, match=named):
        judged(held, ours, theirs, said)


def test_probabilities_of_a_tanh_are_those_of_its_own_outputs():
    held = contents(head_act="tanh")
    ours, theirs, said = answers(held)
    ours["serving_default:output"] = ours.pop("serving_default:logits")
    assert judged(held, ours, theirs, said)[0].output == "output"
    name = "serving_default:probabilities"
    ours[name] = softmax(np.tanh(ours["serving_default:output"]))
    with pytest.raises(ConversionError, match="off the softmax of the tanh outputs"):
        judged(held, ours, theirs, said)


def test_probabilities_of_several_labels_are_a_sigmoid():
    held = contents(problem_type="multi_label")
    ours, theirs, said = answers(held)
    del ours["serving_default:label"]
    ours["serving_default:labels"] = np.tile(np.array(LABELS), (COUNT, 1))
    with pytest.raises(ConversionError, match="sigmoid"):
        judged(held, ours, theirs, said)
    exact = 1 / (1 + np.exp(-ours["serving_default:logits"].astype(np.float64)))
    ours["serving_default:probabilities"] = exact.astype(np.float32)
    assert judged(held, ours, theirs, said)


@pytest.mark.parametrize(
    "name, shape, limit",
    [
        ("logits", (64, 2), 2),
        ("logits", (4, 2), 16),
        ("logits", (4, 1000), 2),
        ("embedding", (4, 768), 2),
        ("embedding", (4, 24), 16),
        ("tokens", (4, 9, 24), 2),
    ],
)
def test_few_numbers_are_judged_less_strictly(name, shape, limit):
    assert limit_of(name, shape) == limit


@pytest.mark.parametrize(
    "kind, case, limit",
    [
        *(("litert", "wide", 4), ("openvino", "wide", 4)),
        *(("litert", "vit", 2), ("onnx", "wide", 2), ("saved_model", "wide", 2)),
    ],
)
def test_a_runtime_that_adds_in_order_may_round_more_where_sums_are_long(
    kind, case, limit
):
    """LiteRT's adds 768 terms one after the other, torch in blocks."""
    config = CASES[case]
    if case == "vit":  # its patches are of 384 numbers
        config = config.replace(patch_size=8)
    assert rounding_limit(kind, config) == limit
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 32, config.embed_dim), np.float32)
    exact = x.astype(np.float64) @ y.T.astype(np.float64)
    in_blocks = sum(
        in_order(x[:, i : i + 256], y[:, i : i + 256]) for i in (0, 256, 512)
    )
    ratio = np.std(in_order(x, y) - exact) / np.std(in_blocks - exact)
    assert ratio > 1.4 if case == "wide" else ratio == 1
    assert ratio < rounding_limit("litert", config)


def in_order(x, y):
    """x @ y.T, its terms added one after the other."""
    found = np.zeros((len(x), len(y)), np.float32)
    for a, b in zip(x.T.astype(np.float64), y.T.astype(np.float64), strict=True):
        found = (found + np.outer(a, b)).astype(np.float32)
    return found


def test_batches_are_of_one_of_three_and_of_the_rest():
    assert batches_of(CASES["vit"], 64) == [1, 3, 60]
    assert batches_of(CASES["vit"], 4) == [1, 3]
    assert sum(batches_of(CASES["wide"], 64)) == 64


def test_both_processes_get_the_same_prepared_pictures(tmp_path):
    """The NumPy way to prepare is held against the torch twin's."""
    torch = pytest.importorskip("torch")
    import torch_vit

    for changes in ({}, {"crop_mode": "squash", "interpolation": "bilinear"}):
        model = pictured()
        model = model.replace(data={**model.data.model_dump(mode="json"), **changes})
        held = Contents(model, "saved_model", False, "f" * 64, "float32")
        ours, theirs = cases(held, tmp_path / "m.safetensors", tmp_path)
        ready = np.load(tmp_path / theirs["sets"]["bytes"])
        sizes = set()
        for file, expected in zip(ours["pictures"], ready, strict=True):
            pixels = np.load(tmp_path / file)
            sizes.add(pixels.shape)
            given = torch.from_numpy(pixels).movedim(-1, 0)[None]
            found = torch_vit.Preprocess(model)(given).numpy()[0]
            assert np.abs(found - expected).max() < 2e-6
        assert len(sizes) == len(ours["pictures"])
    assert json.dumps(ours) and ours["batches"] == [1, 3, 60]
