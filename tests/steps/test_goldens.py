"""The same arrays as timm, torchvision and transformers make."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from converters.steps.resample import resample_positions, resize_kernel
from tests.steps.golden_cases import KERNELS, TABLES, kernel, table

GOLDENS = Path(__file__).with_name("goldens.npz")


@lru_cache(maxsize=1)
def goldens() -> dict[str, np.ndarray]:
    with np.load(GOLDENS) as file:
        return dict(file)


def test_versions_are_recorded():
    versions = json.loads(str(goldens()["versions"]))
    assert {"timm", "torchvision", "transformers", "torch"} == versions.keys()


@pytest.mark.parametrize("name", TABLES)
def test_position_tables(name):
    _, rule, old, new, prefix = TABLES[name]
    made = resample_positions(table(old, prefix), old, new, rule)
    assert made.shape == goldens()[name].shape
    assert np.abs(made - goldens()[name]).max() < 1e-6


@pytest.mark.parametrize("name", KERNELS)
def test_patch_kernels(name):
    rule, old, new = KERNELS[name]
    made = resize_kernel(kernel(old), new, rule)
    assert made.shape == goldens()[name].shape
    assert np.abs(made - goldens()[name]).max() < 2e-6
