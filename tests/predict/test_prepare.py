"""Preprocessing by NumPy against the libraries' results, and against the torch twin."""

from __future__ import annotations

import numpy as np
import pytest

from converters.deploy.media.prepare import prepare
from tests.preprocess.common import config, config_of, excess, image_of
from tests.preprocess.golden_cases import CASES, picture
from vit_config.preprocess import make_plan


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
