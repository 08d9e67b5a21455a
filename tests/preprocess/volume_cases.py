"""Volumes and preprocessing of which tests/preprocess/volume_goldens.npz holds results.

The volumes are computed, so that the file needs only what MONAI makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = (6, 4, 10)
"""Of the model."""

SHAPES = {
    # Odd and even, longer and shorter than the model's; the last is of one value.
    "down": (13, 9, 22, 2),
    "up": (5, 3, 7, 2),
    "mixed": (8, 3, 15, 2),
    "one": (9, 11, 7, 1),
    "flat": (7, 5, 8, 2),
}


def scan(*shape: int) -> NDArray[np.float32]:
    """(*spatial, C): whole numbers in units such as Hounsfield's.

    No two axes or channels alike, and none of its mirror images; a part of it is 0.
    """
    x, y, z, c = np.ogrid[tuple(slice(n) for n in shape)]
    slope = 900 * x / shape[0] - 500 * y / shape[1] + 240 * z / shape[2] + 150 * c
    noise = np.random.default_rng([*shape]).integers(-150, 150, shape)
    made = np.rint(slope + noise - 200)
    empty = (x * 4 // shape[0] + y * 3 // shape[1] + z * 5 // shape[2] + c) % 4 == 0
    return np.where(empty, 0, made).astype(np.float32)


@dataclass(frozen=True)
class VolumeCase:
    """What is done to one volume.

    Attributes:
        volume: One of `SHAPES`.
        data: Fields of the `DataConfig` that says so, but for the axes.
    """

    volume: str
    data: dict[str, Any] = field(hash=False)

    @property
    def name(self) -> str:
        """All of it, readable."""
        words = {**self.data, **(self.data.get("intensity") or {})}
        words.pop("intensity", None)
        return " ".join([self.volume, *(f"{k}={v}" for k, v in words.items())])

    @property
    def values(self) -> NDArray[np.float32]:
        """(*spatial, C)."""
        shape = SHAPES[self.volume]
        if self.volume == "flat":
            return np.full(shape, 7.0, np.float32)
        return scan(*shape)

    @property
    def channels(self) -> int:
        """Of the volume."""
        return SHAPES[self.volume][3]


def _window(**more: Any) -> dict[str, Any]:
    return {
        "intensity": {"kind": "window", "low": -175.0, "high": 250.0, **more},
        "input_range": (0.0, 1.0),
    }


def _percentiles(**more: Any) -> dict[str, Any]:
    return {
        "intensity": {"kind": "percentile", "low": 1.5, "high": 97.0, **more},
        "input_range": (-1.0, 1.0),
    }


def _zscore(**more: Any) -> dict[str, Any]:
    return {"intensity": {"kind": "zscore", **more}}


_MEAN: dict[str, Any] = {"mean": (120.0, -30.5), "std": (400.0, 333.0)}
_PADDED: dict[str, Any] = {"fit": "pad_or_crop", "pad_value": -0.25}
_RESIZES = [{"fit": "resize", "interpolation": n} for n in ("bilinear", "nearest")]
_AREA: dict[str, Any] = {"fit": "resize", "interpolation": "area"}
_VALUES = [
    _window(),
    _window(clip=False),
    _percentiles(),
    _percentiles(clip=False, channel_wise=True),
    _zscore(),
    _zscore(channel_wise=True),
    _zscore(nonzero=True),
    _zscore(nonzero=True, channel_wise=True),
    _MEAN,
]


def _cases() -> list[VolumeCase]:
    fits = [*_RESIZES, _AREA, _PADDED]
    found = []
    for i, fit in enumerate(fits):
        for j, volume in enumerate(("down", "up", "mixed")):
            data = {**_VALUES[(3 * i + j) % 3 * 2], **fit, "fit_first": (i + j) % 2 > 0}
            found.append(VolumeCase(volume, data))
    for i, values in enumerate(_VALUES):
        fit = (_RESIZES[0], _PADDED)[i % 2]
        for j, volume in enumerate(("mixed", "flat")):
            data = {**values, **fit, "fit_first": (i // 2 + j) % 2 > 0}
            found.append(VolumeCase(volume, data))
    for values in (_window(), _zscore(nonzero=True, channel_wise=True)):
        found.append(VolumeCase("one", {**values, **_PADDED, "fit_first": False}))
    both = {**_window(), "mean": (0.4, 0.3), "std": (0.2, 3.0)}
    found.append(VolumeCase("mixed", {**both, **_RESIZES[0], "fit_first": False}))
    return found


CASES = {case.name: case for case in _cases()}


def share(backend: str) -> dict[str, VolumeCase]:
    """The cases that a backend runs: JAX, which compiles every size anew, a fifth."""
    return dict(list(CASES.items())[:: 5 if backend == "jax" else 1])


# ---- files ------------------------------------------------------------------------


def _turned(x: float, y: float, z: float) -> NDArray[np.float64]:
    """A rotation by three angles."""
    made = np.eye(3)
    for axis, angle in enumerate((x, y, z)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        one = np.eye(3)
        one[i, i] = one[j, j] = np.cos(angle)
        one[j, i] = np.sin(angle)
        one[i, j] = -one[j, i]
        made = made @ one
    return made


def _affine(
    axes: NDArray[Any], spacing: tuple[float, ...], place: tuple[float, ...]
) -> NDArray[np.float64]:
    made = np.eye(4)
    made[:3, :3] = axes @ np.diag(spacing)
    made[:3, 3] = place
    return made


AFFINES = {
    # RAS, as NIfTI has it: millimetres from voxels
    "straight": _affine(np.eye(3), (1.0, 1.5, 2.2), (-10.0, 4.0, 33.0)),
    "flipped": _affine(np.diag([-1, -1, 1]), (0.8, 0.9, 3.0), (90.0, 126.0, -72.0)),
    "permuted": _affine(
        np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]]), (1.1, 1.0, 2.5), (5.0, -7.0, 3.0)
    ),
    "oblique": _affine(
        _turned(0.2, -0.15, 0.3) @ np.diag([-1, 1, 1]), (1.2, 0.7, 2.0), (1.0, 2.0, 3.0)
    ),
}


@dataclass(frozen=True)
class FileCase:
    """A NIfTI file, and how it is read.

    Attributes:
        affine: One of `AFFINES`.
        orientation: As in `DataConfig`.
        spacing: The same, or None for files as they are.
        mode: The same; `"keep"` for files as they are.
    """

    affine: str
    orientation: str
    spacing: tuple[float, float, float] | None = (1.0, 1.0, 1.5)
    mode: str = "bilinear"
    channels: int = 1

    @property
    def name(self) -> str:
        """All of it, readable."""
        size = "x".join(map(str, self.spacing or ()))
        return f"{self.affine} {self.orientation} {size} {self.mode} {self.channels}"

    @property
    def values(self) -> NDArray[np.int16]:
        """(*spatial), or (*spatial, C): no two axes of one length."""
        made = scan(9, 7, 5, self.channels).astype(np.int16)
        return made if self.channels > 1 else made[..., 0]


FILES = {
    case.name: case
    for case in (
        FileCase("straight", "RAS"),
        FileCase("straight", "LPS", mode="nearest"),
        FileCase("straight", "RAS", (1.0005, 1.5, 4.0)),
        FileCase("flipped", "RAS"),
        FileCase("flipped", "RAS", (2.0, 2.0, 2.0), "nearest"),
        FileCase("permuted", "RAS"),
        FileCase("permuted", "SPL", (2.0, 1.0, 0.9)),
        FileCase("permuted", "RAS", None, "keep"),
        FileCase("oblique", "RAS"),
        FileCase("oblique", "ASR", (0.97, 1.9, 1.61), "nearest"),
        FileCase("oblique", "RAS", (1.5, 1.5, 1.5), channels=2),
    )
}
