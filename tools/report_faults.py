"""Does every fault, and clean pairs, and writes docs/faults.md from what was found.

    python tools/report_faults.py faults --kind runtime --backend tensorflow
    python tools/report_faults.py faults --kind file --kind mapping --backend torch
    python tools/report_faults.py clean --models 170 --backend torch ...
    python tools/report_faults.py write

What is found is kept in docs/results/faults.jsonl, a line each; what is there is not
done again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from converters.parity.faults import BASES, faults_of
from converters.parity.selftest.clean import clean_pairs
from converters.parity.selftest.table import page
from converters.parity.selftest.trial import Outcome, of_base

RAN = """\
Faults of files and mappings ran through Keras on torch, those of the running model
through Keras on TensorFlow; the rule that Keras on torch gives torch's very bits is
off, so that what is tried are the limits that every backend is held to."""

DOCS = Path(__file__).resolve().parent.parent / "docs"
RESULTS = DOCS / "results" / "faults.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    faults = commands.add_parser("faults")
    faults.add_argument("--kind", action="append", required=True)
    faults.add_argument("--backend", required=True)
    clean = commands.add_parser("clean")
    clean.add_argument("--models", type=int, default=170)
    clean.add_argument("--backend", action="append", required=True)
    commands.add_parser("write")
    asked = parser.parse_args()
    if asked.command == "write":
        (DOCS / "faults.md").write_text(
            page(list(kept()), versions(), RAN), encoding="utf-8"
        )
        return
    start, count = time.perf_counter(), 0
    found = of_faults(asked) if asked.command == "faults" else of_clean(asked)
    with RESULTS.open("a", encoding="utf-8") as file:
        for outcome in found:
            file.write(json.dumps(outcome.to_dict()) + "\n")
            file.flush()
            count += 1
    print(f"{count} done in {time.perf_counter() - start:.0f} s", file=sys.stderr)


def versions() -> str:
    names = ("torch", "keras", "tensorflow", "jax", "numpy")
    return ", ".join(f"{name} {version(name)}" for name in names)


def kept() -> Iterator[Outcome]:
    if RESULTS.exists():
        for line in RESULTS.read_text("utf-8").splitlines():
            yield Outcome.from_dict(json.loads(line))


def of_faults(asked: argparse.Namespace) -> Iterator[Outcome]:
    done = {(one.base, one.fault) for one in kept() if one.backend == asked.backend}
    for base, config in BASES.items():
        names = [f.name for kind in asked.kind for f in faults_of(config, kind)]
        names = [name for name in names if (base, name) not in done]
        print(f"{base}: {len(names)} faults on {asked.backend}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            yield from of_base(base, names, asked.backend, Path(folder))


def of_clean(asked: argparse.Namespace) -> Iterator[Outcome]:
    backends = tuple(asked.backend)
    done = {one.base for one in kept() if one.backend in backends}
    seeds = [seed for seed in range(asked.models) if f"drawn {seed}" not in done]
    print(f"{len(seeds)} clean models on {', '.join(backends)}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        yield from clean_pairs(seeds, backends, Path(folder))


if __name__ == "__main__":
    main()
