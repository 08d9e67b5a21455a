"""`predict` and `embed` by the Keras twin, in a process that has no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import converters
from tests.predict.common import ANSWERS, PICTURES, TIMM, apart
from tests.predict.test_embed import content, rows_of
from tests.saving.backends import backend_param

pytest.importorskip("PIL.Image")

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = [
    backend_param("tensorflow"),
    pytest.param("jax", marks=[*backend_param("jax").marks, pytest.mark.slow]),
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_keras_file_says_what_timm_says(tmp_path, backend):
    model = tmp_path / "model.keras"
    converters.convert(TIMM, model, verify="weights")
    for name, white in (("inside", None), ("floats", 1)):
        converters.convert(
            TIMM,
            tmp_path / f"{name}.keras",
            verify="weights",
            with_preprocessing=True,
            white=white,
        )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.alone", "tests.predict.keras_worker"),
            *(str(model), str(tmp_path)),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "CUDA_VISIBLE_DEVICES": "-1",
            "JAX_PLATFORMS": "cpu",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads((tmp_path / "told.json").read_bytes())
    assert told["torch"] is False
    names = [answer for _, answer in sorted(ANSWERS.items())]
    for found in (told["file"], told["folder"]):
        assert found["library"].startswith("keras ")
        assert f" on {backend} " in found["library"]
        for row, answer in zip(found["predictions"], names, strict=True):
            exact = answer["exact"]["probabilities"]
            assert row["top"][0]["index"] == int(np.argmax(exact))
            mine = {one["index"]: one["probability"] for one in row["top"]}
            assert apart([mine[i] for i in range(5)], exact) < 2e-5
    rows = rows_of(tmp_path / "rows")
    for name, answer in ANSWERS.items():
        assert apart(rows[name], answer["exact"]["features"]) < 2e-5, name
    seen = converters.attention(TIMM, sorted(PICTURES.iterdir())[0])
    assert apart(told["maps"], [seen.attention, seen.rollout]) < 1e-6
    assert np.ptp(seen.rollout) > 1e-3
    assert f"Keras runs on {backend} in this process" in told["other"]
    # With its preprocessing inside it is the same model: the same bits, and an
    # embedding that one began the other goes on with.
    plain = content(tmp_path / "rows")
    for name, found in told["inside"].items():
        assert found.pop("resumed") == len(ANSWERS)
        found.pop("model")
        same = {k: v for k, v in told["plain"].items() if k != "model"}
        assert found == same
        assert content(tmp_path / name) == plain
