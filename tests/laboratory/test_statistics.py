"""ULP distances, KL and agreement obey their laws, and SciPy-free oracles."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from converters.judging.statistics import (
    largest_kl,
    sqnr_db,
    top_agreement,
    ulp_distance,
    ulp_histogram,
    ulp_percentiles,
)

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
TYPES = [np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.float16), BFLOAT16]
NAMES = [str(dtype) for dtype in TYPES]
TRIPLE = 3


def from_bits(dtype: np.dtype, bits: list[int]) -> np.ndarray:
    return np.array(bits, np.dtype(f"u{dtype.itemsize}")).view(dtype)


@st.composite
def any_triples(draw):
    """Three floats of one type: every bit pattern, infinities and NaN among them."""
    dtype = draw(st.sampled_from(TYPES))
    width = 8 * dtype.itemsize
    sign, infinity = (
        1 << (width - 1),
        int(np.array(np.inf, dtype).view(f"u{width // 8}")),
    )
    special = st.sampled_from([0, 1, infinity - 1, infinity, infinity + 1])
    size = st.one_of(special, st.integers(0, sign - 1))
    signs = st.sampled_from([0, sign])
    return from_bits(dtype, [draw(size) | draw(signs) for _ in range(TRIPLE)])


def far(a: np.ndarray, b: np.ndarray) -> int:
    return int(ulp_distance(a.reshape(1), b.reshape(1))[0])


@given(any_triples())
@settings(deadline=None, max_examples=400)
def test_ulp_distance_is_a_metric(values):
    a, b, c = values
    same = bool(a == b) or bool(a != a and b != b)
    assert (far(a, b) == 0) == same
    assert far(a, b) == far(b, a)
    assert far(a, c) <= far(a, b) + far(b, c)


@given(any_triples())
@settings(deadline=None, max_examples=200)
def test_negating_both_keeps_the_distance(values):
    a, b, _ = values
    assert far(-a, -b) == far(a, b)


@pytest.mark.parametrize("dtype", TYPES, ids=NAMES)
@pytest.mark.parametrize("start", [-2.0, -1.0, -0.0, 0.0, 0.5, 3.0])
def test_ulp_distance_counts_steps_to_the_next_float(dtype, start):
    for steps in (1, 2, 77):
        value = np.array(start, dtype)
        for _ in range(steps):
            value = np.nextafter(value, np.array(np.inf, dtype))
        assert far(value, np.array(start, dtype)) == steps


@pytest.mark.parametrize("dtype", TYPES, ids=NAMES)
def test_ulp_distance_goes_through_zero(dtype):
    tiny = from_bits(dtype, [1])  # the smallest subnormal number
    assert far(tiny, -tiny) == 2
    assert far(tiny - tiny, -(tiny - tiny)) == 0


@pytest.mark.parametrize("dtype", TYPES, ids=NAMES)
def test_nan_is_farther_from_every_number_than_any_two_are(dtype):
    infinity, nan = np.array(np.inf, dtype), np.array(np.nan, dtype)
    assert far(nan, infinity) == far(-infinity, nan) > far(-infinity, infinity)
    assert far(nan, -nan) == 0
    largest = np.array(ml_dtypes.finfo(dtype).max, dtype)
    assert far(largest, infinity) == 1


def test_ulp_distance_keeps_the_shape_and_takes_any_strides():
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    y = np.nextafter(x, np.float32(np.inf))
    assert (ulp_distance(x, y) == 1).all()
    assert ulp_distance(x, y).shape == (4, 2, 3)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros(2, np.float32), np.zeros(2, np.float64)),
        (np.zeros(2, np.float32), np.zeros((2, 1), np.float32)),
        (np.zeros(2, np.int32), np.zeros(2, np.int32)),
        (np.zeros(2, np.float16), np.zeros(2, BFLOAT16)),
    ],
)
def test_ulp_distance_refuses_other_types_and_shapes(a, b):
    with pytest.raises(ValueError, match=str(a.dtype)):
        ulp_distance(a, b)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=250))
@settings(deadline=None)
def test_percentiles_leave_that_share_at_or_below(numbers):
    found = ulp_percentiles(np.array(numbers, np.uint32))
    plain = [math.inf if n == 2**32 - 1 else n for n in numbers]
    assert found["max"] == max(plain)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        assert found[name] in plain
        assert sum(n <= found[name] for n in plain) >= share * len(plain)
        assert sum(n < found[name] for n in plain) < share * len(plain)


@given(
    st.sampled_from([np.uint16, np.uint32, np.uint64]).flatmap(
        lambda t: hnp.arrays(t, st.integers(1, 60))
    )
)
@settings(deadline=None)
def test_histogram_counts_every_distance_in_its_bin(distances):
    found = ulp_histogram(distances, "B", "tokens")
    never = np.iinfo(distances.dtype).max
    plain = [math.inf if n == never else int(n) for n in distances]
    assert sum(found.counts) == len(plain)
    for i, count in enumerate(found.counts):
        low, high = found.edges[i : i + 2]
        inside = sum(low <= n < high or (n == high == math.inf) for n in plain)
        assert count == inside
    assert found.edges[:2] == (0, 1)
    assert all(
        b == 2 * a
        for a, b in zip(found.edges[1:], found.edges[2:], strict=False)
        if b != math.inf
    )


LOGITS = st.integers(1, 6).flatmap(
    lambda k: hnp.arrays(np.float64, (3, k), elements=st.floats(-40, 40))
)


def direct_kl(p_logits: np.ndarray, q_logits: np.ndarray) -> float:
    """The sum of p ln(p / q) as the books have it, one number at a time."""
    worst = 0.0
    for x, y in zip(p_logits.tolist(), q_logits.tolist(), strict=True):
        rows = []
        for row in (x, y):
            full = [0.0, *row] if len(row) == 1 else row
            weights = [math.exp(v - max(full)) for v in full]
            rows.append([w / math.fsum(weights) for w in weights])
        pairs = zip(*rows, strict=True)
        worst = max(worst, math.fsum(p * math.log(p / q) for p, q in pairs))
    return worst


@given(LOGITS, st.data())
@settings(deadline=None)
def test_kl_is_the_definition(p, data):
    q = data.draw(hnp.arrays(np.float64, p.shape, elements=st.floats(-40, 40)))
    found = largest_kl(p, q)
    assert found >= 0
    assert math.isclose(found, direct_kl(p, q), rel_tol=1e-9, abs_tol=1e-12)


@given(LOGITS, st.integers(0, 2), st.floats(1e-9, 20), st.booleans())
@settings(deadline=None)
def test_kl_is_zero_only_for_the_same_probabilities(p, row, step, up):
    assert largest_kl(p, p) == 0
    q = p.copy()
    likeliest = q[row].argmax()
    q[row, likeliest] += step if up else -step
    # Where one class has all of the probability a step there changes nothing.
    shares = np.exp(p[row] - p[row].max())
    if p.shape[1] == 1 or shares.sum() - 1 > 1e-3:
        assert largest_kl(p, q) > 0
    if p.shape[1] > 1:
        assert largest_kl(p, p + 3.0) < 1e-25


def test_kl_of_near_distributions_is_not_lost_in_rounding():
    p = np.array([[0.3, -1.2, 0.7]])
    t = np.array([1e-9, -2e-9, 0.5e-9])
    share = np.exp(p[0]) / np.exp(p[0]).sum()
    variance = (share * t**2).sum() - (share * t).sum() ** 2
    assert math.isclose(largest_kl(p, p + t), variance / 2, rel_tol=1e-6)


def test_kl_tells_which_is_the_reference_and_takes_the_worst_input():
    p, q = np.array([[0.0, 0.0], [0.0, 3.0]]), np.array([[0.0, 0.0], [0.0, 0.0]])
    s = 1 / (1 + math.exp(-3))
    assert math.isclose(
        largest_kl(p, q), s * math.log(2 * s) + (1 - s) * math.log(2 * (1 - s))
    )
    assert math.isclose(largest_kl(q, p), -math.log(4 * s * (1 - s)) / 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_kl_of_what_is_no_number_is_nan(bad):
    p = np.zeros((2, 3))
    q = p.copy()
    q[1, 1] = bad
    assert math.isnan(largest_kl(p, q))
    assert math.isnan(largest_kl(q, p))


def test_far_logits_neither_overflow_nor_warn():
    p, q = np.array([[0.0, 5000.0]]), np.array([[5000.0, 0.0]])
    assert largest_kl(p, q) == 5000


def test_top_agreement_counts_the_inputs_that_agree():
    p = np.array([[0, 1, 2, 3, 4, 5, 6.0]] * 4)
    q = p.copy()
    q[0, :2] = [1, 0]  # another order outside the five
    q[1, [5, 6]] = [6, 5]  # another first, same five
    q[2, 1] = 2.5  # another fifth, same first
    q[3, 0] = np.nan
    assert top_agreement(p, q, 1) == 0.5
    assert top_agreement(p, q, 5) == 0.5
    assert top_agreement(p, p, 5) == 1


@pytest.mark.parametrize("k", [1, 5])
def test_agreement_means_nothing_without_a_choice(k):
    p = np.zeros((2, k))
    assert top_agreement(p, p, k) is None
    wider = np.zeros((2, k + 1))
    assert top_agreement(wider, wider, k) == 1


@pytest.mark.parametrize("shape", [(3,), (0, 4), (2, 3, 4)])
def test_logits_need_rows(shape):
    with pytest.raises(ValueError, match="need"):
        largest_kl(np.zeros(shape), np.zeros(shape))


def test_sqnr_is_20_db_a_decade_and_nothing_where_exact():
    assert sqnr_db(1e-3) == pytest.approx(60)
    assert sqnr_db(0.0) is None
    assert sqnr_db(math.inf) == -math.inf
