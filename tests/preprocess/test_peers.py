"""The processors of timm, torchvision and transformers, live, on many sizes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.preprocess import golden_cases
from tests.preprocess.common import config_of, excess_of, image_of
from tests.preprocess.golden_cases import Case

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

ROWS = {
    "timm pil": {"edge": 9, "gentle": True},
    "timm float": {"size": (6, 10), "edge": 7},
    "torchvision pil": {"edge": 11, "interpolation": "bilinear"},
    "torchvision float": {"edge": 10},
    "transformers ViTImageProcessor": {"crop_mode": "squash"},
    "transformers CLIPImageProcessor": {"edge": 9},
    "transformers CLIPImageProcessorPil": {"edge": 10, "gentle": True},
}


@pytest.mark.parametrize("by", ROWS)
def test_images_of_many_sizes(by, monkeypatch):
    pytest.importorskip(by.split()[0])
    pytest.importorskip("torchvision")
    from tests.preprocess.processors import processed
    from torch_vit import Preprocess

    sizes = np.random.default_rng(5).integers(2, 90, (25, 2)).tolist()
    for height, width in sizes:
        monkeypatch.setitem(golden_cases.SHAPES, "drawn", (height, width, 3))
        case = Case(by, "drawn", **ROWS[by])
        image = np.ascontiguousarray(image_of(case).transpose(0, 3, 1, 2))
        module = Preprocess(config_of(case), white=1.0 if case.in_floats else None)
        made = module(torch.from_numpy(image)).numpy().transpose(0, 2, 3, 1)
        theirs = processed(case).double().numpy().transpose(1, 2, 0)
        if not case.in_floats:
            theirs = (theirs * case.std + case.mean) * 255
        assert excess_of(case, made, theirs) < 1, (height, width)
