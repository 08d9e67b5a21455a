"""What `tools/make_step_goldens.py` gives to the libraries, and the tests to us."""

from __future__ import annotations

import math

import numpy as np

from tests.fill import fill

# name: library, its rule, old grid, new grid, prefix rows
TABLES = {
    "timm_up": ("timm", "bicubic_aa", (6, 4), (9, 7), 1),
    "timm_down": ("timm", "bicubic_aa", (9, 8), (4, 8), 5),
    "timm_mixed": ("timm", "bicubic_aa", (3, 8), (7, 5), 0),
    "flexivit_up": ("timm_flexivit", "bilinear", (6, 4), (9, 7), 1),
    "flexivit_down": ("timm_flexivit", "bilinear", (9, 8), (4, 5), 0),
    "torchvision_up": ("torchvision", "bicubic_align", (5, 5), (8, 8), 1),
    "torchvision_down": ("torchvision", "bicubic_align", (8, 8), (3, 3), 1),
    "huggingface_up": ("huggingface", "bicubic", (5, 5), (7, 9), 1),
    "huggingface_down": ("huggingface", "bicubic", (8, 8), (3, 5), 1),
}

# name: rule, old patch, new patch
KERNELS = {
    "patch_up": ("bicubic_aa", (4, 4), (6, 7)),
    "patch_down": ("bicubic_aa", (8, 6), (4, 6)),
    "patch_wide": ("bicubic_aa", (4, 6), (6, 4)),
    "patch_flexivit": ("bilinear", (4, 5), (7, 8)),
    "patch_flexivit_down": ("bilinear", (8, 6), (5, 4)),
}

# name: channels before, after
CHANNELS = {
    "chans_3_1": (3, 1),
    "chans_2_1": (2, 1),
    "chans_3_2": (3, 2),
    "chans_3_4": (3, 4),
    "chans_3_7": (3, 7),
}


def table(grid: tuple[int, ...], prefix: int) -> np.ndarray:
    return fill("pos_embed", (1, prefix + math.prod(grid), 3))


def kernel(patch: tuple[int, ...], chans: int = 3) -> np.ndarray:
    return fill("patch_embed.proj.weight", (4, chans, *patch))
