"""Configs, goldens and both twins, for tests of preprocessing."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.preprocess.golden_cases import CASES, Case, soft
from vit_config import ViTConfig
from vit_config.preprocess import Plan, make_plan, matrix

GOLDENS = Path(__file__).with_name("goldens.npz")
DATA: dict[str, Any] = {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "input_range": (0.0, 1.0),
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
}


def config(size: int | tuple[int, int] = 8, **data: Any) -> ViTConfig:
    """A tiny model with that preprocessing; None takes a field away."""
    found = {**DATA, **data}
    return ViTConfig(
        img_size=size,
        patch_size=2,
        in_chans=len(found["mean"] or (0, 0, 0)),
        embed_dim=8,
        depth=1,
        num_heads=2,
        mlp_dim=8,
        num_classes=3,
        data=found,
    )


def config_of(case: Case) -> ViTConfig:
    return config(case.size, **case.data)


def image_of(case: Case) -> NDArray[Any]:
    """(1, H, W, C), uint8, or float32 from 0 to 1."""
    values = case.levels
    return (soft(values) if case.in_floats else values)[None]


@lru_cache(maxsize=1)
def goldens() -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What made them, and the result (H, W, C) of every case."""
    with np.load(GOLDENS) as file:
        about = json.loads(str(file["about"]))
        rest = {"levels": file["levels"], "floats": file["floats"]}
    found = {}
    for name in about["cases"]:
        case = CASES[name]
        key, shape = "floats" if case.in_floats else "levels", (*case.size, -1)
        count = case.size[0] * case.size[1] * case.shape[2]
        found[name], rest[key] = rest[key][:count].reshape(shape), rest[key][count:]
    assert not any(len(values) for values in rest.values())
    return about["versions"], found


def rounding(plan: Plan, case: Case) -> float:
    """What two roundings to levels move a value by at most, in levels.

    Half a level after the first axis, which the second weighs by the sum of its
    absolute weights, and half a level at the end.
    """
    if case.interpolation == "nearest":
        return 0.0
    sums = [
        np.abs(matrix(axis, case.interpolation)).sum(axis=1).max()
        for axis in plan.axes(*case.shape[:2])
    ]
    return 0.5 + 0.5 * float(max(sums))


def excess(case: Case, made: NDArray[Any]) -> float:
    """How far a result (1, H, W, C) is from the golden, in parts of what is allowed."""
    return excess_of(case, made, goldens()[1][case.name])


def excess_of(case: Case, made: NDArray[Any], theirs: NDArray[Any]) -> float:
    """How far a result (1, H, W, C) is from a library's, in parts of what is allowed.

    Where the library rounds to levels: the two roundings, and 0.02 of a level for its
    weights in integers. Otherwise 1e-5 of the range.

    Args:
        case: The case.
        made: Our result.
        theirs: (H, W, C); levels where it rounds to them, or its result.
    """
    mean, std = np.array(case.mean), np.array(case.std)
    assert made.shape == (1, *theirs.shape)
    if case.in_floats:
        return float(np.abs((made[0] - theirs) * std).max()) / 1e-5
    levels = (made[0].astype(np.float64) * std + mean) * 255
    bound = rounding(make_plan(config_of(case)), case) + 0.02
    return float(np.abs(levels - theirs).max()) / bound
