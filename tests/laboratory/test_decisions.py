"""Decisions from outputs, and the bound of Clopper and Pearson."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from converters import ConversionError
from converters.parity.decisions import UNDECIDED, Rule, decision_rule, upper_bound
from vit_config import ViTConfig


def config(**changes) -> ViTConfig:
    fields = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1}
    return ViTConfig(**{**fields, "num_heads": 2, "mlp_dim": 8, **changes})


@pytest.mark.parametrize(
    ("problem_type", "outputs", "threshold", "rule"),
    [
        ("single_label", 3, None, Rule("largest")),
        (None, 3, None, Rule("largest")),
        ("single_label", 1, 0.3, Rule("yes", 0.3)),
        ("multi_label", 1, 0.3, Rule("yes", 0.3)),
        ("multi_label", 4, 0.3, Rule("each", 0.3)),
    ],
)
def test_the_problem_type_says_how_to_decide(problem_type, outputs, threshold, rule):
    c = config(problem_type=problem_type, num_classes=outputs)
    assert decision_rule(c, threshold) == rule


@pytest.mark.parametrize(
    ("fields", "threshold", "says"),
    [
        ({"num_classes": 0}, None, "no head"),
        ({"num_classes": 2, "head_act": "tanh"}, None, '"problem_type"'),
        ({"num_classes": 2, "problem_type": "regression"}, None, "regression"),
        ({"num_classes": 2}, 0.5, '"problem_type"'),
        ({"num_classes": 1}, None, '"problem_type"'),
        ({"num_classes": 1}, 0.5, '"problem_type"'),
        ({"num_classes": 1, "problem_type": "multi_label"}, None, "threshold="),
        ({"num_classes": 3, "problem_type": "multi_label"}, None, "threshold="),
        ({"num_classes": 3, "problem_type": "single_label"}, 0.5, "Leave it out"),
        ({"num_classes": 1, "problem_type": "multi_label"}, 1.0, "between 0 and 1"),
        ({"num_classes": 1, "problem_type": "multi_label"}, 0.0, "between 0 and 1"),
        ({"num_classes": 1, "problem_type": "multi_label"}, math.nan, "nan: expected"),
    ],
)
def test_what_cannot_be_decided_is_refused(fields, threshold, says):
    with pytest.raises(ConversionError, match=says):
        decision_rule(config(**fields), threshold)


def test_tanh_outputs_decide_once_their_meaning_is_stated():
    def rule(threshold, **fields):
        return decision_rule(config(head_act="tanh", **fields), threshold)

    assert rule(None, num_classes=3, problem_type="single_label") == Rule("largest")
    each = rule(0.6, num_classes=3, problem_type="multi_label")
    outputs = np.tanh(np.random.default_rng(0).normal(0, 2, (5, 3))).astype(np.float32)
    yes = 1 / (1 + np.exp(-outputs.astype(np.float64))) > 0.6
    decided, _ = each.decide(outputs)
    named = [" ".join(map(str, np.flatnonzero(row))) or "none" for row in yes]
    assert decided == named and len(set(named)) > 2
    for beyond in (0.26, 0.74):
        with pytest.raises(ConversionError, match=r"between 0\.269 and 0\.731"):
            rule(beyond, num_classes=3, problem_type="multi_label")


LOGITS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(2, 5)),
    elements=st.floats(-20, 20, width=32),
)


@given(LOGITS)
@settings(deadline=None)
def test_the_largest_decides_and_the_margin_is_its_lead(x):
    decided, margins = Rule("largest").decide(x)
    for row, name, margin in zip(x.astype(np.float64), decided, margins, strict=True):
        assert row[int(name)] == row.max()
        others = np.delete(row, int(name))
        assert margin == row.max() - others.max()


@given(LOGITS, st.floats(0.001, 0.999))
@settings(deadline=None)
def test_each_output_over_the_threshold_is_named(x, threshold):
    decided, margins = Rule("each", threshold).decide(x)
    for row, name, margin in zip(x.tolist(), decided, margins, strict=True):
        shares = [1 / (1 + math.exp(-value)) for value in row]
        sure = [i for i, p in enumerate(shares) if p > threshold + 1e-9]
        maybe = [i for i, p in enumerate(shares) if p > threshold - 1e-9]
        named = [] if name == "none" else [int(i) for i in name.split()]
        assert set(sure) <= set(named) <= set(maybe)
        border = math.log(threshold / (1 - threshold))
        assert margin == pytest.approx(min(abs(v - border) for v in row), abs=1e-9)


def test_a_single_output_is_a_yes_over_the_threshold_only():
    x = np.array([[0.0], [1e-6], [-1e-6]], np.float32)
    decided, margins = Rule("yes", 0.5).decide(x)
    assert decided == ["no", "yes", "no"]
    assert margins == pytest.approx([0, 1e-6, 1e-6])
    border = math.log(0.9 / 0.1)
    assert Rule("yes", 0.9).decide(np.array([[border + 0.1], [border - 0.1]]))[0] == [
        "yes",
        "no",
    ]


@pytest.mark.parametrize("rule", [Rule("largest"), Rule("each", 0.5)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_decides_nothing(rule, bad):
    x = np.array([[1.0, 2.0], [bad, 2.0]], np.float32)
    decided, margins = rule.decide(x)
    assert decided == ["1" if rule.kind == "largest" else "0 1", UNDECIDED]
    assert math.isnan(margins[1])
    assert margins[0] == 1


def test_a_decision_is_right_if_it_is_the_label():
    assert Rule("largest").correct("2", 2)
    assert not Rule("largest").correct("2", 1)
    assert Rule("yes", 0.5).correct("yes", 1)
    assert Rule("yes", 0.5).correct("no", 0)
    assert not Rule("yes", 0.5).correct("no", 1)
    assert not Rule("yes", 0.5).correct(UNDECIDED, 0)


def at_most(changed: int, count: int, share: float) -> float:
    """Probability of so few changes, as the sum of its terms."""
    return math.fsum(
        math.comb(count, i) * share**i * (1 - share) ** (count - i)
        for i in range(changed + 1)
    )


counted = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counted, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@settings(deadline=None, max_examples=60)
def test_the_bound_is_where_so_few_changes_become_improbable(counts, confidence):
    pytest.importorskip("scipy")
    changed, count = counts
    bound = upper_bound(changed, count, confidence)
    assert changed / count < bound <= 1 or changed == count
    if changed < count:
        assert at_most(changed, count, bound) == pytest.approx(1 - confidence)
    else:
        assert bound == 1


@given(counted)
@settings(deadline=None, max_examples=30)
def test_the_bound_is_scipys_exact_test(counts):
    stats = pytest.importorskip("scipy.stats")
    changed, count = counts
    test = stats.binomtest(changed, count, alternative="less")
    interval = test.proportion_ci(confidence_level=0.95, method="exact")
    assert upper_bound(changed, count) == pytest.approx(interval.high, rel=1e-9)


def test_no_change_in_412_cases_leaves_less_than_a_percent():
    pytest.importorskip("scipy")
    assert upper_bound(0, 412) == pytest.approx(1 - 0.05 ** (1 / 412))


@pytest.mark.parametrize(("changed", "count"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_share_has_no_bound(changed, count):
    with pytest.raises(ValueError, match=f"{changed} of {count}"):
        upper_bound(changed, count)
