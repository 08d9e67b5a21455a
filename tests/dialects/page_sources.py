"""The sources of the pages in `docs/dialects`: small files as the libraries save them.

Names and shapes are the libraries' own (`tests/dialects/files`, golden presets, a
config that timm saved); the values are `tests.fill`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.dialects import test_jax
from tests.dialects.test_keras_hub import preset
from tests.dialects.test_library_folders import timm_config, timm_folder
from tests.dialects.test_real_files import library_file

PAGES = Path(__file__).resolve().parents[2] / "docs" / "dialects"


def _torch(case: str, name: str, *keys: str) -> Callable[[Path], None]:
    """`torch.save` of what the library saves, under keys of a checkpoint."""

    def make(folder: Path) -> None:
        import torch

        (folder / "tmp").mkdir()
        _, _, arrays = library_file(case, folder / "tmp")
        start = "".join(f"{key}." for key in keys)
        content: dict[str, Any] = {
            n.removeprefix(start): torch.from_numpy(np.array(values))
            for n, values in arrays.items()
        }
        for key in reversed(keys):
            content = {key: content}
        torch.save(content, folder / name)

    return make


def _huggingface(folder: Path) -> None:
    for case, name in (("hf_vit", "vit"), ("hf_dinov2_registers", "dinov2")):
        (folder / name).mkdir()
        library_file(case, folder / name)


def _timm(folder: Path) -> None:
    timm_folder(folder / "vit_tiny", timm_config(num_classes=3))
    _torch("timm_deit3", "deit3.pth", "model")(folder)


def _jax(folder: Path) -> None:
    np.savez(folder / "augreg.npz", **test_jax.arrays("augreg"))


def _keras_hub(folder: Path) -> None:
    preset("classifier", folder / "preset")


SOURCES: dict[str, Callable[[Path], None]] = {
    "monai": _torch("monai_1.6_tanh", "model.pt"),
    "timm": _timm,
    "facebook": _torch("facebook_dino", "dino.pth", "teacher"),
    "huggingface": _huggingface,
    "torchvision": _torch("torchvision_vit", "vit.pth"),
    "openai_clip": _torch("open_clip_clip", "open_clip.pt"),
    "lucidrains": _torch("lucidrains_vit", "vit.pt"),
    "videomae": _torch("videomae_finetuned", "videomae.pth", "module"),
    "jax": _jax,
    "keras_hub": _keras_hub,
}
"""By page: what makes its sources in a folder."""
