"""The RMS rule itself, on numbers whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.parity.rms import (
    EPS32,
    LEAST_INPUTS,
    Verdict,
    exactness,
    judge_gradients,
    judge_logits,
    judge_tokens,
    rms,
)


def triple(shape=(64, 10), error=1e-6, noise=1e-6, seed=0):
    """(given, reference, oracle) with errors of a known RMS."""
    rng = np.random.default_rng(seed)
    oracle = rng.standard_normal(shape) + 3.0
    signs = rng.choice([-1.0, 1.0], shape)
    given = (oracle + error * signs).astype(np.float64)
    return given, oracle + noise * signs, oracle


@pytest.mark.parametrize(
    ("error", "passes"),
    [(0.0, True), (1e-6, True), (1.99e-6, True), (2.01e-6, False), (1e-3, False)],
)
@pytest.mark.parametrize("judge", [judge_logits, judge_tokens])
def test_twice_the_floor_is_the_limit(judge, error, passes):
    verdict = judge("y", *triple(error=error))
    assert verdict.rms == pytest.approx(error / 1e-6, rel=1e-6)
    assert verdict.passed is passes


def test_one_large_error_fails_tokens_only():
    given, reference, oracle = triple()
    given[5, 5] = oracle[5, 5] + 5e-6
    assert judge_logits("y", given, reference, oracle).passed
    verdict = judge_tokens("y", given, reference, oracle)
    assert verdict.rms < 2
    assert verdict.largest == pytest.approx(5, rel=1e-6)
    assert not verdict.passed


@pytest.mark.parametrize("judge", [judge_logits, judge_tokens])
def test_a_lucky_reference_counts_as_rounding(judge):
    given, _, oracle = triple(error=0.0)
    within = oracle + 1.9 * EPS32 * rms(oracle)
    beyond = oracle + 2.1 * EPS32 * rms(oracle)
    assert judge("y", given, oracle, oracle).rms == 0
    assert judge("y", within, oracle, oracle).passed
    assert not judge("y", beyond, oracle, oracle).passed


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("judge", [judge_logits, judge_tokens])
def test_what_is_not_finite_fails(judge, bad):
    given, reference, oracle = triple()
    given[0, 0] = bad
    with np.errstate(invalid="ignore"):
        assert not judge("y", given, reference, oracle).passed


def test_zeros_are_equal_to_zeros_only():
    zeros = np.zeros((64, 3))
    assert judge_tokens("y", zeros, zeros, zeros).passed
    other = zeros.copy()
    other[0, 0] = 1e-30
    verdict = judge_tokens("y", other, zeros, zeros)
    assert verdict.rms == math.inf
    assert not verdict.passed


def test_logits_of_few_inputs_are_refused():
    arrays = triple(shape=(LEAST_INPUTS - 1, 2))
    with pytest.raises(ValueError, match="63 inputs"):
        judge_logits("y", *arrays)
    judge_tokens("y", *arrays)


def test_other_shapes_and_types_are_refused():
    given, reference, oracle = triple()
    with pytest.raises(ValueError, match=r"\(64, 9\)"):
        judge_tokens("y", given[:, :9], reference, oracle)
    with pytest.raises(ValueError, match="float32"):
        judge_tokens("y", given, reference, oracle.astype(np.float32))
    with pytest.raises(ValueError, match="float16"):
        judge_tokens("y", given.astype(np.float16), reference, oracle)


def test_limits_include_their_bound():
    assert Verdict("y", 2.0, 4.0, 4.0).passed
    assert not Verdict("y", math.nextafter(2.0, 3), 4.0, 4.0).passed
    assert not Verdict("y", 2.0, math.nextafter(4.0, 5), 4.0).passed


def test_exactness_is_relative_to_the_largest_value():
    oracle = np.array([[-8.0, 2.0]])
    assert exactness(oracle + 4e-12, oracle) == pytest.approx(5e-13, rel=1e-3)
    assert math.isnan(exactness(oracle * np.nan, oracle))
    with pytest.raises(ValueError, match="float64 run"):
        exactness(oracle.astype(np.float32), oracle)
    with pytest.raises(ValueError, match="shapes"):
        exactness(oracle, oracle[0])


def test_why_64_inputs():
    """Correct models of two classes exceed 2 on one input, on 64 practically never."""
    rng = np.random.default_rng(0)
    ours, theirs = rng.standard_normal((2, 4000, 64, 2))
    few = [rms(a) / rms(b) for a, b in zip(ours[:, :1], theirs[:, :1], strict=True)]
    many = [rms(a) / rms(b) for a, b in zip(ours, theirs, strict=True)]
    assert np.mean(np.array(few) > 2) == pytest.approx(0.2, abs=0.02)
    assert max(many) < 1.5


def gradients(error=1e-6, small_error=1e-6):
    """Given, reference and exact gradients of a large and two small tensors."""
    sides = [{}, {}, {}]
    for seed, (name, size) in enumerate([("w", 2560), ("a", 24), ("b", 2)]):
        wrong = error if name == "w" else small_error
        arrays = triple(shape=(size,), error=wrong, seed=seed)
        for side, array in zip(sides, arrays, strict=True):
            side[name] = array
    return sides


def test_gradients_large_alone_small_together():
    verdicts = {verdict.name: verdict for verdict in judge_gradients(*gradients())}
    assert list(verdicts) == ["w", "small gradients"]
    assert all(verdict.passed for verdict in verdicts.values())
    failed = [v.name for v in judge_gradients(*gradients(error=5e-6)) if not v.passed]
    assert failed == ["w"]
    verdicts = judge_gradients(*gradients(small_error=2.5e-6))
    assert [v.name for v in verdicts if not v.passed] == ["small gradients"]


def test_one_wrong_small_gradient_is_seen():
    given, reference, oracle = gradients()
    given["b"] = np.zeros_like(given["b"])
    verdicts = judge_gradients(given, reference, oracle)
    assert [v.name for v in verdicts if not v.passed] == ["small gradients"]


def test_a_missing_gradient_is_refused():
    given, reference, oracle = gradients()
    del given["a"]
    with pytest.raises(ValueError, match="'a'"):
        judge_gradients(given, reference, oracle)
