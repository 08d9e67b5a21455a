"""The notebook's code runs from top to bottom, and its outputs are of such a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.saving.backends import ROOT, why_not

if reason := why_not("torch"):  # without importing Keras here
    pytest.skip(reason, allow_module_level=True)
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

NOTEBOOK = ROOT / "examples" / "convert_and_verify.ipynb"
CELLS = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
MOST_BYTES = 150_000


def printed(cell: dict) -> str:
    return "".join(
        "".join(output["text"])
        for output in cell["outputs"]
        if output["output_type"] == "stream"
    )


def test_outputs_are_of_one_run_without_an_error() -> None:
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    kinds = {output["output_type"] for cell in CODE for output in cell["outputs"]}
    assert kinds == {"stream", "execute_result", "display_data"}
    text = "".join(map(printed, CODE))
    assert "B is the same model as A up to layers" in text
    assert "same decisions: True" in text
    assert NOTEBOOK.stat().st_size < MOST_BYTES
    assert "/home/" not in NOTEBOOK.read_text("utf-8")
    assert "/tmp/" not in NOTEBOOK.read_text("utf-8")


@pytest.mark.slow
def test_all_cells_run_in_order(tmp_path: Path) -> None:
    script = tmp_path / "cells.py"
    script.write_text("\n\n".join("".join(cell["source"]) for cell in CODE), "utf-8")
    env = {
        "KERAS_BACKEND": "torch",
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples")]),
    }
    result = subprocess.run(
        [sys.executable, "-W", "ignore:.*non-interactive", str(script)],
        cwd=tmp_path,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr[-4000:]
    assert "B is the same model as A up to layers" in result.stdout
    assert "same decisions: True" in result.stdout
