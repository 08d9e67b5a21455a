"""Arithmetic on arrays: views, hashes, values."""

from __future__ import annotations

import numpy as np
import pytest

from converters.checks.tensors import check_tensors, check_values, value_problem
from converters.mapping.pipe import (
    MemorySource,
    apply,
    contiguous,
    count_nonfinite,
    fingerprint,
    np_dtype,
)
from converters.mapping.table import CANONICAL, KERAS
from tests.converters.cases import CASES, weights

RANDOM = np.random.default_rng(7)


def strided_views():
    large = RANDOM.standard_normal((150, 260)).astype(np.float32)
    return {
        "transposed": large.T,
        "transposed_odd": large[:131, :251].T,
        "every_second": large[::2],
        "reversed": large[:, ::-1],
        "columns": large[:, 3:257],
        "small": large[:3, :2].T,
        "rank_4": RANDOM.standard_normal((2, 3, 4, 5)).transpose(3, 1, 0, 2),
        "half": large.astype(np.float16).T,
        "bfloat16": large.astype(np_dtype("bfloat16")).T,
        "broadcast": np.broadcast_to(large[:1], (130, 260)),
        "scalar": np.float32(3.0)[()] * np.ones(()),
        "empty": np.zeros((0, 4), np.float32).T,
    }


@pytest.mark.parametrize("kind", strided_views())
def test_contiguous_keeps_values(kind):
    view = strided_views()[kind]
    made = contiguous(view)
    assert made.flags.c_contiguous
    assert made.dtype == view.dtype
    assert made.tobytes() == view.tobytes()  # numpy's own copy in C order


def test_kernels_are_moved_as_the_twins_need_them():
    """Against plain numpy, written down once more by hand."""
    config = CASES["volume"]
    steps = {step.sources[0]: step for step in KERAS.plan(config).steps}
    by_hand = {
        "patch_embed.proj.weight": lambda a: a.transpose(2, 3, 4, 1, 0),
        "blocks.1.attn.qkv.weight": np.transpose,
        "blocks.1.attn.proj.weight": np.transpose,
        "blocks.0.mlp.fc1.weight": np.transpose,
        "head.weight": np.transpose,
        "blocks.0.attn.qkv.bias": np.asarray,
        "pos_embed": np.asarray,
    }
    for name, move in by_hand.items():
        array = RANDOM.standard_normal(steps[name].source_shape).astype(np.float32)
        (made,) = apply(steps[name], [array])
        assert made.tobytes() == move(array).tobytes()


def test_counting_is_exact_where_a_sum_overflows():
    large = np.full(1000, 3e38, np.float32)
    assert count_nonfinite(large) == (0, 0)
    large[5], large[6], large[7] = np.nan, np.inf, -np.inf
    assert count_nonfinite(large) == (1, 2)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_value_is_found(dtype, bad):
    array = np.ones(5000, np_dtype(dtype))
    assert count_nonfinite(array) == (0, 0)
    array[4321] = bad
    assert sum(count_nonfinite(array)) == 1


def test_sum_of_opposite_infinities_is_seen():
    assert count_nonfinite(np.array([np.inf, -np.inf], np.float32)) == (0, 2)


def test_key_bias_must_be_zero_under_qv_only():
    config = CASES["no_bias"]
    bias = np.zeros(72, np.float32)
    assert value_problem("blocks.0.attn.qkv.bias", bias, config) == ""
    bias[0], bias[-1] = 1, 1  # query and value
    assert value_problem("blocks.0.attn.qkv.bias", bias, config) == ""
    bias[30] = 1
    assert "key part" in value_problem("blocks.0.attn.qkv.bias", bias, config)
    other = CASES["classes"]
    assert value_problem("blocks.0.attn.qkv.bias", bias, other) == ""


def digests(arrays):
    source = MemorySource(arrays)
    return check_values(source, CASES["classes"], arrays)[1]


def test_fingerprint_sees_names_shapes_types_and_bits_not_order():
    arrays = {"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float32)}
    reference = fingerprint(digests(arrays))
    assert fingerprint(digests(dict(reversed(arrays.items())))) == reference
    flipped = arrays["b"].copy()
    flipped.view(np.uint32)[3] ^= 1
    others = [
        {**arrays, "b": flipped},
        {**arrays, "a": arrays["a"].T},
        {**arrays, "b": arrays["b"].view(np.int32)},
        {"a": arrays["a"], "c": arrays["b"]},
        {"a": arrays["a"]},
    ]
    found = [fingerprint(digests(other)) for other in others]
    assert len({reference, *found}) == 1 + len(others)


def test_mixed_types_are_refused_and_a_cast_allows_them():
    arrays = weights(CASES["classes"])
    arrays["norm.bias"] = arrays["norm.bias"].astype(np.float16)
    plan = CANONICAL.plan(CASES["classes"])
    (issue,) = check_tensors(MemorySource(arrays), plan)
    assert (issue.kind, issue.name, issue.found) == ("dtype", "norm.bias", "float16")
    assert check_tensors(MemorySource(arrays), plan, casting=True) == []
