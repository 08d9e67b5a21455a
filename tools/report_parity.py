r"""Measures the parity of the twins and writes `docs/parity.md`.

    python tools/report_parity.py [--every] [--clean] [--out docs/parity.md]

Runs what the test suite runs (`tests/parity`), with the same functions: of every
installed backend the default jobs, with `--every` the slow ones as well (an hour on two
cores), with `--clean` the 512 correct models that false alarms are counted on. A line
that was not measured says so.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from converters.judging.rms import MAX_LIMIT, RMS_LIMIT  # noqa: E402
from tests.cases import CASES  # noqa: E402
from tests.parity import suite  # noqa: E402
from tests.parity.protocol import Job  # noqa: E402
from tests.parity.reference import TorchTwin, settle  # noqa: E402
from tests.parity.rms import Verdict  # noqa: E402
from tests.parity.runs import Results, run_worker  # noqa: E402
from tests.saving.backends import available  # noqa: E402

HEADER = """\
# Measured parity of the twins

Written by `tools/report_parity.py`{options}, which runs what the tests in
`tests/parity` run. {count} small models use every flag of the schema in 2D and 3D, one
of them as wide as a ViT-B; every weight is filled, inputs are noise, a low-variance
case, large values and zeros. On the CPU, one thread:
{versions}.

## Keras on the torch backend

Demanded: the same bits as `torch_vit`, in float32. Exceptions would stand in
`tests/parity/exceptions.json`.

"""

RULE = f"""
## Keras on tensorflow and jax

Demanded: the RMS rule. The error is measured against the torch twin in float64, in
units of the torch twin's own float32 error on the same inputs; the RMS of it may be at
most {RMS_LIMIT:g}, the largest at most {MAX_LIMIT:g} on tokens, on maps and on
gradients of 256 numbers or more (smaller ones are pooled). A correct model is expected
near 1.

Gradients are those of three inputs. TensorFlow on the CPU sums the gradient of a bias
one token after the other, so that its error grows with the batch (up to 10 times that
of torch, which sums in pairs, for the 64 inputs of the case `qv_bias`).

| backend | what | judged | median RMS | largest RMS | largest error |
| --- | --- | ---: | ---: | ---: | ---: |
"""

EXACT = """
## In float64

Demanded: within 1e-12 of the scale, outputs and gradients.

| backend | compared | largest difference / scale |
| --- | ---: | ---: |
"""

CLEAN = """
## False alarms

Correct models, each with other weights and inputs, heads of one and two classes among
them: how many does the rule call wrong?

| backend | models | verdicts | false alarms | largest RMS |
| --- | ---: | ---: | ---: | ---: |
"""

SEEN = """
## Mistakes

The rule has to see each; figures are the largest RMS ratio (the limit is {limit:g}).

| mistake | {backends} |
| --- | {dashes} |
"""


def group(job: Job, verdict: Verdict) -> str:
    """The row of the table that a verdict belongs to."""
    name = verdict.name.removeprefix("tap.")
    if suite.GRADIENTS in job.names:
        return "gradients"
    if "maps" in name or name.startswith("attention"):
        return "attention maps"
    pooled = verdict.limit != MAX_LIMIT
    return "logits, pooled vectors" if pooled else "tokens"


class Reference:
    """The torch twin's results, the latest ones kept."""

    def __init__(self) -> None:
        self.twin = TorchTwin()

    def verdicts(self, job: Job, results: Results) -> list[Verdict]:
        clean = replace(job, mutant="")
        exact = self.twin.run(replace(clean, dtype="float64"))
        return suite.judge(job, results.of(job.key), self.twin.run(clean), exact)


def bit_rows(jobs: Iterable[Job], results: Results, reference: Reference) -> list[str]:
    """What was compared bit by bit, and what differed."""
    compared, unequal = defaultdict(int), defaultdict(int)
    for job in jobs:
        theirs = reference.twin.run(job)
        for name in theirs:
            compared[name.startswith(suite.GRADIENTS)] += 1
        for name in suite.unequal(results.of(job.key), theirs):
            unequal[name.startswith(suite.GRADIENTS)] += 1
    return [
        f"| {what} | {compared[gradient]} | {unequal[gradient]} |"
        for what, gradient in (("outputs, taps, maps", False), ("gradients", True))
    ]


def rms_rows(
    backend: str, jobs: Iterable[Job], results: Results, reference: Reference
) -> list[str]:
    """Median and largest ratios of each kind of output."""
    found: dict[str, list[Verdict]] = defaultdict(list)
    for job in jobs:
        for verdict in reference.verdicts(job, results):
            found[group(job, verdict)].append(verdict)
    return [
        f"| {backend} | {what} | {len(verdicts)} | "
        f"{statistics.median(v.rms for v in verdicts):.2f} | "
        f"{max(v.rms for v in verdicts):.2f} | {max(v.largest for v in verdicts):.2f} |"
        for what, verdicts in sorted(found.items())
    ]


def exact_row(
    backend: str, jobs: Iterable[Job], results: Results, reference: Reference
) -> str:
    """The largest float64 difference."""
    found = [
        difference
        for job in jobs
        for _, difference in suite.inexact(
            job, results.of(job.key), reference.twin.run(job)
        )
    ]
    return f"| {backend} | {len(found)} | {max(found):.1e} |"


def clean_row(backend: str, results: Results, reference: Reference) -> str:
    """False alarms on correct models."""
    jobs = suite.clean_jobs()
    every = [reference.verdicts(job, results) for job in jobs]
    alarms = sum(not all(v.passed for v in verdicts) for verdicts in every)
    flat = [verdict for verdicts in every for verdict in verdicts]
    largest = max(verdict.rms for verdict in flat)
    return f"| {backend} | {len(jobs)} | {len(flat)} | {alarms} | {largest:.2f} |"


def report(every: bool, clean: bool, folder: Path) -> str:
    """The whole page."""
    settle("cpu")
    reference = Reference()
    backends = available()
    others = [name for name in backends if name != "torch"]
    bits, ratios, exact, alarms = [], [], [], []
    seen: dict[str, list[str]] = defaultdict(list)
    for backend in backends:
        jobs = suite.default_jobs(backend, [backend])  # all cases on every one
        if backend != "torch":
            jobs += suite.mutant_jobs(backend)
        if every:
            jobs += suite.slow_jobs(backend)
        jobs = list({job.key: job for job in jobs}.values())
        results = run_worker(backend, folder / backend, jobs)
        plain = [job for job in jobs if not job.mutant]
        single = [job for job in plain if job.dtype == "float32"]
        double = [job for job in plain if job.dtype == "float64"]
        if double:
            exact.append(exact_row(backend, double, results, reference))
        if backend == "torch":
            bits = bit_rows(single, results, reference)
            continue
        ratios += rms_rows(backend, single, results, reference)
        for job in jobs:
            if job.mutant:
                verdicts = reference.verdicts(job, results)
                seen[job.mutant].append(f"{max(v.rms for v in verdicts):.3g}")
        if clean:
            pairs = run_worker(backend, folder / f"{backend}-clean", suite.clean_jobs())
            alarms.append(clean_row(backend, pairs, reference))
    options = " --every" * every + " --clean" * clean
    packages = ("torch", "keras", "tensorflow", "jax", "numpy")
    named = [f"{name} {version(name)}" for name in packages if installed(name)]
    named += [f"Python {platform.python_version()}", platform.machine()]
    missing = "| not measured | | |\n"
    lines = [
        HEADER.format(
            options=f" with `{options.strip()}`" if options else "",
            count=len(CASES),
            versions=", ".join(named),
        ),
        "| what | compared | different |\n| --- | ---: | ---: |\n",
        "".join(f"{row}\n" for row in bits) or missing,
        RULE,
        "".join(f"{row}\n" for row in ratios),
        EXACT,
        "".join(f"{row}\n" for row in exact),
        CLEAN,
        "".join(f"{row}\n" for row in alarms) or "| not measured | | | | |\n",
        SEEN.format(
            limit=RMS_LIMIT,
            backends=" | ".join(others),
            dashes=" | ".join("---:" for _ in others),
        ),
        "".join(
            f"| {mutant.replace('_', ' ')} | {' | '.join(values)} |\n"
            for mutant, values in seen.items()
        ),
        "\nA dropped key bias changes no output: softmax does not see what all keys\n"
        "have in common. Only the comparison of the weights sees it.\n",
    ]
    return "".join(lines)


def installed(package: str) -> bool:
    """Whether a backend's package is among those that were run."""
    return package not in suite.BACKENDS or package in available()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "parity.md")
    parser.add_argument("--every", action="store_true", help="the slow jobs as well")
    parser.add_argument("--clean", action="store_true", help="count false alarms")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = report(options.every, options.clean, Path(folder))
    options.out.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
