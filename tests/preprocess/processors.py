"""The processors of timm, torchvision and transformers, as they are.

They run where those libraries are installed: for the goldens, and for the tests with
the mark `peers`.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from tests.preprocess.golden_cases import Case, soft

PIL_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def as_pil(case: Case) -> Image.Image:
    values = case.levels
    return Image.fromarray(values[..., 0] if case.shape[2] == 1 else values)


def as_tensor(case: Case) -> torch.Tensor:
    values = case.levels
    found = soft(values) if case.in_floats else values
    return torch.from_numpy(np.ascontiguousarray(found.transpose(2, 0, 1)))


def by_timm(case: Case) -> torch.Tensor:
    from timm.data import create_transform

    kind = case.by.split()[1]
    transform = create_transform(
        (case.shape[2], *case.size),
        interpolation=case.interpolation,
        mean=case.mean,
        std=case.std,
        crop_pct=case.crop_pct,
        crop_mode=case.crop_mode,
        # Its tensors are not rescaled: those of 8 bits can only be resized.
        normalize=kind != "uint8",
    )
    found = transform(as_pil(case) if kind == "pil" else as_tensor(case))
    if kind == "uint8":
        mean, std = (torch.tensor(v)[:, None, None] for v in (case.mean, case.std))
        found = (found / 255 - mean) / std
    return found


def by_torchvision(case: Case) -> torch.Tensor:
    from torchvision.transforms import InterpolationMode, v2

    edge = case.edge or case.size[0]
    geometry = [
        v2.Resize(edge, InterpolationMode(case.interpolation), antialias=True),
        v2.CenterCrop(case.size),
    ]
    values = [
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(case.mean, case.std),
    ]
    if case.by.endswith("pil"):
        return v2.Compose([*geometry, v2.ToImage(), *values])(as_pil(case))
    return v2.Compose([*geometry, *values])(as_tensor(case))


def by_transformers(case: Case) -> torch.Tensor:
    import transformers

    edge = case.edge or case.size[0]
    crop = dict(zip(("height", "width"), case.size, strict=True))
    squash = case.crop_mode == "squash"
    processor = getattr(transformers, case.by.split()[1])(
        size={"height": edge, "width": edge} if squash else {"shortest_edge": edge},
        resample=PIL_FILTERS[case.interpolation],
        do_center_crop=edge != case.size[0],
        crop_size=crop,
        image_mean=list(case.mean),
        image_std=list(case.std),
    )
    return processor(as_pil(case), return_tensors="pt")["pixel_values"][0]


BY = {"timm": by_timm, "torchvision": by_torchvision, "transformers": by_transformers}


def processed(case: Case) -> torch.Tensor:
    """What the library makes of the image: (C, H, W), float32."""
    return BY[case.by.split()[0]](case)
