"""What was measured, as ratios of one run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Timing:
    """A contender at one batch size.

    Attributes:
        batch_size: Inputs of a call.
        rounds: Seconds of every call, round by round.
    """

    batch_size: int
    rounds: tuple[tuple[float, ...], ...]

    @property
    def rates(self) -> tuple[float, ...]:
        """Inputs per second of each round."""
        return tuple(self.batch_size * len(r) / sum(r) for r in self.rounds)

    @property
    def rate(self) -> float:
        """Median of the rounds' rates."""
        return statistics.median(self.rates)

    def percentile(self, share: float) -> float:
        """Seconds that this share of all calls took at most (nearest rank)."""
        calls = sorted(second for r in self.rounds for second in r)
        rank = max(1, -int(-share * len(calls) // 1))
        return calls[rank - 1]

    def ratios(self, baseline: Timing) -> tuple[float, ...]:
        """Its rate over the baseline's, in each round."""
        pairs = zip(self.rates, baseline.rates, strict=True)
        return tuple(own / other for own, other in pairs)


@dataclass(frozen=True, slots=True)
class Contestant:
    """All about one contender.

    Attributes:
        name: What it is called.
        library: What computed, with its version.
        baseline: Name of the contender that its ratios are of.
        import_seconds: Importing its libraries.
        load_seconds: Loading the model.
        peak_bytes: Largest resident size of its process.
        difference: Largest difference of its outputs from the first contender's, in
            units of those outputs' RMS.
        timings: One per batch size.
    """

    name: str
    library: str
    baseline: str
    import_seconds: float
    load_seconds: float
    peak_bytes: int
    difference: float
    timings: tuple[Timing, ...]


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Everything of one run.

    Attributes:
        model: Name of the file, folder or preset.
        unit: `"images"` or `"volumes"`.
        shape: Shape of one input, channels first.
        threads: Threads of each contender, and cores it may use.
        machine: Processor, cores, memory in bytes, load before the run.
        contestants: Who took part.
        left_out: Who did not, each with the reason in a line.
    """

    model: str
    unit: str
    shape: tuple[int, ...]
    threads: int
    machine: Mapping[str, Any]
    contestants: tuple[Contestant, ...]
    left_out: tuple[str, ...]

    def contestant(self, name: str) -> Contestant:
        """The contender of that name."""
        return next(one for one in self.contestants if one.name == name)

    def ratios(self, name: str, batch_size: int) -> tuple[float, ...]:
        """Speed over its baseline's, round by round; more is faster."""
        own = self.contestant(name)
        other = self.contestant(own.baseline)
        pairs = zip(own.timings, other.timings, strict=True)
        return next(a.ratios(b) for a, b in pairs if a.batch_size == batch_size)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON types, each call's seconds included."""
        return {
            "model": self.model,
            "unit": self.unit,
            "shape": list(self.shape),
            "threads": self.threads,
            "machine": dict(self.machine),
            "contestants": [self._contestant(one) for one in self.contestants],
            "left_out": list(self.left_out),
        }

    def _contestant(self, one: Contestant) -> dict[str, Any]:
        return {
            "name": one.name,
            "library": one.library,
            "baseline": one.baseline,
            "import_seconds": one.import_seconds,
            "load_seconds": one.load_seconds,
            "peak_bytes": one.peak_bytes,
            "difference": one.difference,
            "timings": [
                {
                    "batch_size": timing.batch_size,
                    "rate": timing.rate,
                    "rates": list(timing.rates),
                    "p50": timing.percentile(0.5),
                    "p90": timing.percentile(0.9),
                    "p99": timing.percentile(0.99),
                    "ratios": list(self.ratios(one.name, timing.batch_size)),
                    "rounds": [list(r) for r in timing.rounds],
                }
                for timing in one.timings
            ],
        }

    def to_json(self) -> str:
        """As text."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        machine = self.machine
        lines = [
            f"{self.model}: {self.unit} of {size}, {self.threads} threads",
            f"{machine['processor']}, {machine['cores']} cores, "
            f"{machine['memory_bytes'] / 2**30:.0f} GiB; load {machine['load']:.1f} "
            "before the run",
        ]
        for i, batch in enumerate(t.batch_size for t in self.contestants[0].timings):
            lines += ["", *self._table(i, batch)]
        lines += ["", *self._resources()]
        lines += [f"not run: {line}" for line in self.left_out]
        return "\n".join(lines)

    def _table(self, index: int, batch: int) -> list[str]:
        rows: list[tuple[str, ...]] = [
            (
                f"batch {batch}",
                f"{self.unit}/s",
                *("p50 ms", "p90 ms", "p99 ms"),
                "ratio (lowest-highest round)",
            )
        ]
        for one in self.contestants:
            timing = one.timings[index]
            ratios = self.ratios(one.name, batch)
            times = (f"{1e3 * timing.percentile(s):.1f}" for s in (0.5, 0.9, 0.99))
            middle = statistics.median(ratios)
            ratio = "1"
            if one.baseline != one.name:
                spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
                ratio = f"{middle:.2f} ({spread}) of {one.baseline}"
            rows.append((one.name, f"{timing.rate:.2f}", *times, ratio))
        return _aligned(rows)

    def _resources(self) -> list[str]:
        rows = [("", "import s", "load s", "peak MiB", "difference", "library")]
        rows += [
            (
                one.name,
                f"{one.import_seconds:.2f}",
                f"{one.load_seconds:.2f}",
                f"{one.peak_bytes / 2**20:.0f}",
                f"{one.difference:.1e}",
                one.library,
            )
            for one in self.contestants
        ]
        return _aligned(rows)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        middle = (t.rjust(w) for t, w in zip(row[1:-1], widths[1:-1], strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *middle, row[-1]]).rstrip())
    return lines
