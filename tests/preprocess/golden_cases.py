"""Images and processors of which tests/preprocess/goldens.npz holds the results.

The images are computed, so that the file needs only what libraries make of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHAPES = {
    # Height, width and channels. The excess before a crop is 0 to 3 modulo 4.
    "down": (23, 37, 3),
    "up": (5, 6, 3),
    "wide": (11, 73, 3),
    "high": (61, 7, 3),
    "grey": (19, 30, 1),
    "alpha": (19, 30, 4),
}
MEAN = (0.485, 0.456, 0.406, 0.5)
STD = (0.229, 0.224, 0.225, 0.3)


def picture(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """(H, W, C): slopes, noise, and blocks of black and white, where filters overshoot.

    No two axes or channels alike, and none of its mirror images.
    """
    y, x, c = np.ogrid[:height, :width, :channels]
    slope = 255 * (2 * y / height + x / width + 0.3 * c) / 3.9
    noise = np.random.default_rng(height * 1000 + width).integers(
        0, 120, (height, width, channels)
    )
    blocks = np.where((y * 5 // height + x * 7 // width + c) % 3 == 0, 200, -60)
    return np.clip(slope + noise + blocks - 40, 0, 255).astype(np.uint8)


def soft(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The same from 0 to 1, with so little contrast that no filter leaves the range.

    Weights of the cubic sum to at most 1.25 in absolute value, 1.57 over two axes.
    """
    return (0.2 + image.astype(np.float64) / 255 * 0.6).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A processor, its settings and an image.

    Attributes:
        by: Library, and what of it.
        image: One of `SHAPES`.
        size: Height and width of the model.
        edge: Height before the crop, or None where there is no crop.
        interpolation: As in `DataConfig`.
        crop_mode: The same.
        gentle: So little contrast that nothing is cut: then Pillow 13, which begins
            with the rows where an image loses many of them, gives what it gave before.
    """

    by: str
    image: str
    size: tuple[int, int] = (8, 8)
    edge: int | None = None
    interpolation: str = "bicubic"
    crop_mode: str = "center"
    gentle: bool = False

    @property
    def name(self) -> str:
        """All of it, readable."""
        size = "x".join(str(n) for n in (self.edge, *self.size) if n)
        return f"{self.by} {self.crop_mode} {self.interpolation} {size} {self.image}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the image."""
        return SHAPES[self.image]

    @property
    def levels(self) -> NDArray[np.uint8]:
        """The image, (H, W, C)."""
        values = picture(*self.shape)
        return (soft(values) * 255).astype(np.uint8) if self.gentle else values

    @property
    def mean(self) -> tuple[float, ...]:
        """One for each channel."""
        return MEAN[: self.shape[2]]

    @property
    def std(self) -> tuple[float, ...]:
        """The same."""
        return STD[: self.shape[2]]

    @property
    def crop_pct(self) -> float:
        """What a config states."""
        return self.size[0] / self.edge if self.edge else 1.0

    @property
    def data(self) -> dict[str, Any]:
        """The `DataConfig` that says the same."""
        return {
            "mean": self.mean,
            "std": self.std,
            "interpolation": self.interpolation,
            "crop_mode": self.crop_mode,
            "crop_pct": self.crop_pct,
            "input_range": (0.0, 1.0),
            "crop_start": "floor" if self.by.startswith("transformers") else None,
        }

    @property
    def in_floats(self) -> bool:
        """Whether the library, too, computes in floats, and rounds nothing."""
        return self.by.endswith("float")


def _cases(by: str, images: str, **settings: Any) -> list[Case]:
    return [Case(by, image, **settings) for image in images.split()]


_BILINEAR: dict[str, Any] = {"interpolation": "bilinear"}
_SQUASH: dict[str, Any] = {"crop_mode": "squash"}
_TABLE = [
    _cases("timm pil", "down up wide high grey", edge=9),
    _cases("timm pil", "down up wide high", size=(6, 10)),
    _cases("timm pil", "down wide", edge=10, **_BILINEAR),
    _cases("timm pil", "down up", interpolation="lanczos"),
    _cases("timm pil", "down grey", interpolation="nearest"),
    _cases("timm pil", "down up", edge=10, **_SQUASH),
    _cases("timm uint8", "down up wide", **_BILINEAR),
    _cases("timm float", "down up wide high alpha", edge=9),
    _cases("timm float", "wide high", size=(6, 10), edge=7),
    _cases("torchvision pil", "down up wide high", edge=9, **_BILINEAR),
    _cases("torchvision uint8", "down high", edge=9, **_BILINEAR),
    _cases("torchvision float", "down up wide high grey", edge=9, **_BILINEAR),
    _cases("transformers ViTImageProcessor", "down high", **_SQUASH, **_BILINEAR),
    _cases("transformers ViTImageProcessorPil", "down high", **_SQUASH, **_BILINEAR),
    _cases("transformers DeiTImageProcessor", "up wide", **_SQUASH, edge=11),
    _cases("transformers CLIPImageProcessor", "down up wide high", edge=10),
    _cases("transformers CLIPImageProcessorPil", "down up wide high", edge=10),
]
CASES = {case.name: case for row in _TABLE for case in row}


def share(backend: str) -> dict[str, Case]:
    """The cases that a backend runs: JAX, which compiles every size anew, a quarter."""
    return dict(list(CASES.items())[:: 4 if backend == "jax" else 1])
