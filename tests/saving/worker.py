"""The fresh process: `python -m tests.saving.worker`; stdin: folder, phase, steps."""

from __future__ import annotations

import builtins
import importlib
import json
import os
import sys
import time
import tomllib
import traceback
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def warnings_as_errors() -> None:
    """Applies the warning filters of pyproject.toml, which pytest applies to itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for line in project["tool"]["pytest"]["ini_options"]["filterwarnings"]:
        action, _, rest = line.partition(":")
        message, _, category = rest.rpartition(":")
        kind = getattr(builtins, category or "Warning")
        warnings.filterwarnings(action, message, kind)


def main() -> None:
    """Runs the steps and writes `PHASE.json`."""
    folder, phase, steps = json.load(sys.stdin)
    os.chdir(folder)
    results = {}
    for key, place, options in steps:
        module, _, function = place.partition(":")
        start = time.process_time()
        error = value = None
        try:
            step = getattr(importlib.import_module(f"tests.saving.{module}"), function)
            with warnings.catch_warnings():
                warnings_as_errors()
                value = step(**options)
        except Exception:
            error = traceback.format_exc()
        seconds = time.process_time() - start
        results[key] = {"error": error, "value": value, "seconds": seconds}
    Path(f"{phase}.json").write_text(json.dumps(results), "utf-8")


if __name__ == "__main__":
    main()
