"""The computed position tables against those of the libraries, from the goldens."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open

from converters.libraries import positions
from converters.parity.selftest.recorded import FOLDER
from vit_config import ViTConfig


@pytest.mark.parametrize(
    ("case", "make", "apart"),
    [
        ("hf_videomae", positions.videomae, 0.0),
        ("lucidrains_simple_vit", positions.simple_vit, 1e-6),
    ],
)
def test_table(case: str, make: object, apart: float) -> None:
    with safe_open(FOLDER / f"{case}.safetensors", "numpy") as file:
        wanted = file.get_tensor("weights/pos_embed")
        config = ViTConfig.from_dict(json.loads(file.metadata()["golden"])["config"])
    made = make(config)  # type: ignore[operator]
    assert made.dtype == wanted.dtype and made.shape == wanted.shape
    np.testing.assert_allclose(made, wanted, rtol=0, atol=apart)


def test_what_the_axes_leave_of_the_width_is_zero() -> None:
    config = ViTConfig(
        spatial_dims=3,
        img_size=(8, 8, 8),
        patch_size=4,
        embed_dim=28,
        depth=1,
        num_heads=2,
        mlp_dim=8,
        class_token=False,
        global_pool="avg",
        pos_embed="sincos",
    )
    table = positions.simple_vit(config)
    assert table.shape == (1, 8, 28)
    assert not table[..., 24:].any() and table[..., :24].any()
