"""Rates, percentiles and ratios follow from the calls' times."""

from __future__ import annotations

import pytest

from converters.benchmark.report import BenchReport, Contestant, Timing


def contestant(name: str, baseline: str, *rounds: tuple[float, ...]) -> Contestant:
    timings = (Timing(2, rounds),)
    return Contestant(name, "library 1.0", baseline, 1.0, 2.0, 2**20, 0.0, timings)


def report(*contestants: Contestant) -> BenchReport:
    machine = {"processor": "P", "cores": 2, "memory_bytes": 2**30, "load": 0.5}
    return BenchReport("m", "images", (3, 4, 5), 1, machine, contestants, ("x: why",))


def test_a_rate_is_inputs_over_all_seconds_of_a_round() -> None:
    timing = Timing(4, ((0.5, 1.5), (1.0,), (4.0,)))
    assert timing.rates == (4.0, 4.0, 1.0)
    assert timing.rate == 4.0


def test_percentiles_are_calls_that_happened() -> None:
    timing = Timing(1, (tuple(range(100, 50, -1)), tuple(range(1, 51))))
    assert [timing.percentile(share) for share in (0.5, 0.9, 0.99)] == [50, 90, 99]
    assert Timing(1, ((3.0, 1.0, 2.0),)).percentile(0.99) == 3.0


def test_a_ratio_compares_calls_of_the_same_round() -> None:
    # Both take three times as long in the second round: the machine, not the model.
    fast = contestant("fast", "slow", (1.0, 1.0), (3.0,), (1.0,))
    slow = contestant("slow", "slow", (2.0,), (6.0,), (4.0,))
    found = report(slow, fast)
    assert found.ratios("fast", 2) == (2.0, 2.0, 4.0)
    assert found.ratios("slow", 2) == (1.0, 1.0, 1.0)
    text = str(found)
    assert "2.00 (2.00-4.00) of slow" in text
    assert "not run: x: why" in text
    (timing,) = found.to_dict()["contestants"][1]["timings"]
    assert timing["ratios"] == [2.0, 2.0, 4.0]
    assert timing["rounds"] == [[1.0, 1.0], [3.0], [1.0]]


def test_rounds_that_do_not_match_are_no_ratio() -> None:
    with pytest.raises(ValueError, match="zip"):
        Timing(1, ((1.0,),)).ratios(Timing(1, ((1.0,), (1.0,))))
