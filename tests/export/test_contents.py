"""What an artifact gives follows from the config, and from nothing else."""

from __future__ import annotations

import json

import pytest

from converters.artifacts.contents import FORMATS, Contents
from converters.wording import COMMAND_LINE, PRETRAINED, PYTEST, speaking
from tests.cases import CASES
from tests.export.common import DATA, LABELS, SCAN, config, pictured
from vit_config import ViTConfig


def contents(config: ViTConfig, format="saved_model", tokens=False) -> Contents:
    return Contents(config, format, tokens, "f" * 64, "float32")


def names(config: ViTConfig, **more) -> list[str]:
    return [one.name for one in contents(config, **more).signatures()[0].outputs]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_each_model_gives_what_it_has(case, kind):
    model = CASES[case]
    for tokens in (False, True):
        found = contents(model, kind, tokens)
        shapes = {one.name: one.shape for one in found.outputs()}
        heads = {"logits", "output"} & shapes.keys()
        assert len(heads) == (1 if model.num_classes else 0)
        assert ("embedding" in shapes) == (model.global_pool != "none")
        assert ("tokens" in shapes) == (tokens or model.global_pool == "none")
        for name in heads:
            assert shapes[name] == ("batch", model.num_classes)
        (takes,) = found.signatures()[0].inputs
        sizes = set(takes.shape[1:-1]), set(takes.shape[2:])
        last = kind in ("saved_model", "litert")
        assert sizes[0 if last else 1] == set(model.img_size)
        assert takes.shape[-1 if last else 1] == model.in_chans


def test_a_tanh_or_a_regression_has_no_logits():
    assert names(CASES["tanh_head"]) == ["output", "embedding"]
    assert names(CASES["one_class"]) == ["output", "embedding"]
    assert names(CASES["two_classes"]) == ["logits", "embedding"]


@pytest.mark.parametrize(
    "case, problem_type, how",
    [
        ("vit", "single_label", "softmax"),
        ("vit", "multi_label", "sigmoid"),
        ("vit", "regression", ""),
        ("vit", None, ""),
        ("tanh_head", "single_label", "softmax"),
        ("tanh_head", "multi_label", "sigmoid"),
        ("tanh_head", "regression", ""),
        ("tanh_head", None, ""),
        ("one_class", "single_label", ""),
        ("one_class", "multi_label", "sigmoid"),
        ("pooled", None, ""),
    ],
)
def test_probabilities_exist_where_the_config_says_how(case, problem_type, how):
    model = config(case, problem_type=problem_type)
    found = contents(model)
    assert found.probabilities == how
    assert ("probabilities" in names(model)) == bool(how)
    if not how and model.num_classes:
        assert any(n.startswith("no probabilities: ") for n in found.notes())


def test_probabilities_of_a_tanh_are_called_what_they_are():
    def what(case):
        found = contents(config(case, problem_type="single_label")).outputs()
        return {one.name: one.what for one in found}

    assert what("vit")["probabilities"] == "softmax of the logits"
    tanh = what("tanh_head")
    assert tanh["probabilities"] == "softmax of the tanh outputs"
    assert "logit" not in " ".join([*tanh, *tanh.values()])


def test_label_strings_need_labels_and_probabilities():
    def strings(kind="saved_model", **changes):
        return [one.name for one in contents(pictured(**changes), kind).strings()]

    assert strings(labels=LABELS) == ["label"]
    assert strings(labels=LABELS, problem_type="multi_label") == ["labels"]
    assert strings(labels=LABELS, problem_type=None) == []
    assert strings() == []
    assert strings("onnx", labels=LABELS) == []


def test_bytes_are_served_where_preprocessing_is_complete():
    def served(model):
        return [one.name for one in contents(model).signatures()]

    assert served(pictured()) == ["serving_default", "serve_bytes"]
    assert served(CASES["vit_3d"]) == ["serving_default", "serve_bytes"]
    for missing in DATA:
        model = pictured(data={**DATA, missing: None})
        assert served(model) == ["serving_default"]
        assert f"no serve_bytes: data.{missing}" in " ".join(contents(model).notes())
    assert "does not state its preprocessing" in " ".join(
        contents(CASES["vit"]).notes()
    )
    two = pictured(in_chans=2, data={**DATA, "mean": (0.5, 0.5), "std": (1.0, 1.0)})
    assert "in_chans is 2" in " ".join(contents(two).notes())
    for kind in ("onnx", "litert", "torch"):
        assert len(contents(pictured(), kind).signatures()) == 1


def test_only_what_prepares_says_that_it_does():
    default, encoded = contents(pictured()).signatures()
    assert (default.preprocessing, encoded.preprocessing) == (False, True)
    assert '"crop_pct": 0.9' in default.says
    assert not any(s.preprocessing for s in contents(CASES["vit_3d"]).signatures())


def test_a_scan_is_prepared_inside_where_the_config_says_how():
    stated = config("vit_3d", data=SCAN)
    _, encoded = contents(stated).signatures()
    assert encoded.preprocessing
    assert "turn the scan to X, Y, Z in RAS, 1 x 1 x 2 mm" in encoded.says
    kept = config("vit_3d", data={**SCAN, "spacing_mm": None, "spacing_mode": "keep"})
    assert contents(kept).signatures()[1].says.endswith("in RAS")
    partly = contents(config("vit_3d", data={**SCAN, "fit": None}))
    assert not partly.signatures()[1].preprocessing
    assert "takes prepared volumes: data.fit: not stated" in " ".join(partly.notes())


def test_facts_are_equal_bytes_and_hold_the_config():
    model = pictured(labels=LABELS)
    one, other = contents(model), contents(ViTConfig.from_dict(model.to_dict()))
    assert one.facts_json() == other.facts_json()
    facts = json.loads(one.facts_json())
    assert ViTConfig.from_dict(facts["config"]) == model
    assert facts["fingerprint"] == "f" * 64
    assert contents(model, tokens=True).facts_json() != one.facts_json()


@pytest.mark.parametrize("interface", [COMMAND_LINE, PYTEST, PRETRAINED])
def test_facts_do_not_depend_on_who_asks(interface):
    """The process that writes an artifact is asked by another interface."""
    held = contents(config("vit", problem_type=None), "onnx")
    with speaking(interface):
        told = held.facts_json()
    assert told == held.facts_json()
    assert "--set problem_type=single_label" in json.loads(told)["notes"][0]


def test_a_label_of_several_lines_is_one_line():
    model = pictured(labels=("a\nb", "c\t d", "e"))
    assert contents(model).label_lines() == "a b\nc d\ne\n"
