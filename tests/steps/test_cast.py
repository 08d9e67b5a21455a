"""`--dtype`: how far values move, what becomes zero, and what is too large."""

from __future__ import annotations

import json

import numpy as np
import pytest

from converters import ConversionError
from converters.mapping.pipe import np_dtype
from converters.steps.rounding import Rounding
from tests.cases import CASES
from tests.steps.common import run, weights

CONFIG = CASES["vit"]


@pytest.mark.parametrize(("dtype", "eps"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_figures_are_those_of_the_values(dtype, eps, tmp_path):
    report, _ = run(tmp_path, CONFIG, dtype=dtype)
    assert report.steps == (f"cast_{dtype}",)
    figures = report.effects[0].rounding
    largest, squares, change = {}, 0.0, 0.0
    for name, array in weights(CONFIG).items():
        old = array.astype(np.float64)
        new = array.astype(np_dtype(dtype)).astype(np.float64)
        largest[name] = (np.abs(new - old) / np.abs(old)).max()
        squares, change = squares + (old**2).sum(), change + ((new - old) ** 2).sum()
    name = max(largest, key=largest.get)
    assert figures["tensor"] == name
    assert figures["largest_relative_change"] == pytest.approx(largest[name], rel=1e-12)
    assert figures["relative_rms"] == pytest.approx((change / squares) ** 0.5, rel=1e-9)
    assert figures["zeroed"] == 0
    assert figures["values"] == sum(array.size for array in weights(CONFIG).values())
    assert eps / 2 < figures["largest_relative_change"]
    assert f"largest relative change {largest[name]:.2g} ({name})" in str(report)
    assert json.loads(report.to_json())["effects"][0]["rounding"] == figures


def test_widening_changes_nothing_and_says_so(tmp_path):
    report, _ = run(tmp_path, CONFIG, weights(CONFIG, "bfloat16"), dtype="float32")
    assert report.effects[0].rounding["largest_relative_change"] == 0
    assert report.effects[0].notes == ("largest relative change 0, 0 in all (rms)",)


def test_values_too_small_are_counted(tmp_path):
    arrays = weights(CONFIG)
    arrays["norm.bias"][:3] = [1e-9, -1e-9, 0.0]
    arrays["head.bias"][1] = 7e-8  # not zero, but far from what it was
    report, made = run(tmp_path, CONFIG, arrays, dtype="float16")
    figures = report.effects[0].rounding
    assert figures["zeroed"] == 2
    assert figures["tensor"] == "head.bias"
    assert figures["largest_relative_change"] == pytest.approx(0.148, abs=1e-3)
    assert "; 2 of " in str(report) and "values became zero" in str(report)
    assert not made["norm.bias"][:3].any()


def test_values_too_large_are_refused_by_name(tmp_path):
    arrays = weights(CONFIG)
    arrays["norm.bias"][0] = -65520  # rounds to infinity; 65519 would not
    arrays["blocks.1.mlp.fc1.bias"][:2] = 1e30
    with pytest.raises(ConversionError) as error:
        run(tmp_path, CONFIG, arrays, dtype="float16")
    assert [issue.name for issue in error.value.issues] == [
        "blocks.1.mlp.fc1.bias",
        "norm.bias",
    ]
    assert "2 of 36 values are too large for float16" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source.safetensors"]
    arrays["norm.bias"][0] = -65519
    arrays["blocks.1.mlp.fc1.bias"][:2] = 1
    run(tmp_path, CONFIG, arrays, dtype="float16")


def test_infinite_before_the_cast_is_the_sources_fault(tmp_path):
    arrays = weights(CONFIG)
    arrays["norm.bias"][0] = np.inf
    with pytest.raises(ConversionError, match="0 NaN and 1 infinite") as error:
        run(tmp_path, CONFIG, arrays, dtype="float16")
    assert len(error.value.issues) == 1


def test_large_tensors_are_compared_in_parts():
    old = np.linspace(-1, 1, (1 << 18) * 2 + 5, dtype=np.float32)
    new = old.copy()
    new[-1] += np.float32(2**-10)
    rounding = Rounding()
    rounding.add("a", old, new)
    assert rounding.largest == 2**-10 and rounding.values == old.size
