"""Preprocessing by NumPy against the libraries' results, and against the torch twin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converters.inputs.prepare import prepare
from tests.preprocess.common import config, config_of, excess, image_of
from tests.preprocess.golden_cases import CASES, picture
from vit_config.preprocess import make_plan

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", CASES)
def test_goldens(name):
    case = CASES[name]
    levels = image_of(case)[0]
    if case.in_floats:
        levels = levels * np.float32(255)
    made = prepare(levels, make_plan(config_of(case)))
    assert excess(case, made.transpose(1, 2, 0)[None]) < 1


@pytest.mark.parametrize("size", [(300, 211), (9, 500), (40, 30), (64, 48)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_it_is_what_the_twin_computes(size, interpolation):
    torch = pytest.importorskip("torch")
    from torch_vit import Preprocess

    c = config((64, 48), interpolation=interpolation, crop_pct=0.9)
    levels = picture(*size)
    made = prepare(levels, make_plan(c))
    assert made.flags.c_contiguous
    images = torch.from_numpy(levels.transpose(2, 0, 1).copy())[None]
    theirs = Preprocess(c)(images)[0].numpy()
    std = np.array(c.data.std)[:, None, None]
    assert np.abs((made - theirs) * std).max() < 2e-6


SHOWS_BITS = """
import hashlib
import numpy as np
from converters.inputs.product import along_last

rng = np.random.default_rng(0)
for lines, n, m in ((777, 1023, 224), (2, 40_000, 20), (55, 9_000, 16), (90, 700, 400)):
    x = rng.standard_normal((2, lines, n)).astype("float32")
    weights = rng.standard_normal((m, n)).astype("float32")
    made = along_last(x, weights)
    exact = x.astype(float) @ weights.astype(float).T
    assert np.abs(made - exact).max() < 1e-5 * n
    print(hashlib.sha256(made.tobytes()).hexdigest())
"""


def test_its_bits_do_not_depend_on_the_threads_of_blas():
    found = set()
    for threads in "1", "2":
        env = {"OPENBLAS_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", SHOWS_BITS],
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        assert len(done.stdout.split()) == 4
        found.add(done.stdout)
    assert len(found) == 1
