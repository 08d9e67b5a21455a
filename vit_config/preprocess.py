"""What `data` of a config does to an image: the one plan that both twins follow.

A picture is decoded before: pixels as the file holds them, turned as its EXIF data say,
with the model's channels. Then, in this order:

| step | fields of `DataConfig` | what is done |
| --- | --- | --- |
| float | | the levels 0 to 255 as float32 |
| resize | `interpolation`, `crop_mode`, `crop_pct` | first columns, then rows |
| crop | the same, `crop_start` | the middle, of the model's size |
| rescale | `input_range` | 0 to its lower end, 255 to its upper one |
| normalise | `mean`, `std` | minus the mean, divided by the deviation |

**Sizes.** A model of `n` pixels wants an image of `floor(n / crop_pct)` before the crop
(timm 1.0.31). `"squash"` resizes both edges to that. `"center"` does it with the edge
that is then covered tightly, and keeps the aspect ratio: the other edge is cut off to
whole pixels for a square model (torchvision 0.29 and transformers 5.23), rounded half
to even for another (timm).

**Resampling** is that of Pillow (`Resample.c`), which torch has as `antialias=True`.
Output point `i` of `m` lies at `(i + 1/2) n / m` of `n` source points, whose centres
are at `j + 1/2`. It is the mean of them under a filter that is widened by `n / m` where
that is more than one: a triangle (`"bilinear"`), Keys' cubic with a = -1/2
(`"bicubic"`), Lanczos' of 3 lobes (`"lanczos"`), cut at the border and normalised; or
the one that contains it (`"nearest"`). Channels are independent, also alpha. After each
pass values are cut to what 8 bits can hold, since the cubic overshoots at edges.

**What differs from libraries** (measured with the versions of tests/preprocess):

- Nothing is rounded to whole levels here. They do that after each pass for 8 bits,
  which moves a value by at most 1 level of 255 (bilinear) or 1.13 (bicubic).
- Columns always come first, as in torchvision and in Pillow before 13, which begins
  with the rows where an image loses many of them. Where the cubic is cut, at edges of
  black and white, that made up to 20 levels.
- torchvision's older transforms of uint8 *tensors* cut once, at the end: up to 14
  levels at such edges.
- Where an edge to be rounded ends in exactly one half, timm's quotient of floats may
  round it the other way (20 of 300,000 sizes); where a point falls between two pixels,
  Pillow's `"nearest"` and torch's `"nearest-exact"` may take the other one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import floor, pi
from typing import Any

from vit_config.config import ViTConfig
from vit_config.data import DataConfig
from vit_config.errors import ConfigError

WHAT = "preprocessing"
WHITE = 255.0  # the highest level of 8 bits

_NEEDED = {
    "mean": "one value for each channel",
    "std": "one value for each channel",
    "input_range": "two values, such as 0 and 1",
    "interpolation": "nearest, bilinear, bicubic or lanczos",
    "crop_pct": "the part that is kept, 1.0 for all",
    "crop_mode": "'center' or 'squash'",
}


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis on its way: from `source` points to `resized`, of which some are kept.

    The numbers may be integer tensors where a graph is made for images of any size.

    Attributes:
        source: Points of the image.
        resized: Points after the resize step.
        start: The first of them that is kept.
        kept: How many of them are.
    """

    source: Any
    resized: Any
    start: Any
    kept: int

    @property
    def numbers(self) -> tuple[Any, Any, Any]:
        """Those that depend on the image."""
        return self.source, self.resized, self.start


@dataclass(frozen=True, slots=True)
class Plan:
    """Preprocessing with its numbers worked out, for images of any size.

    Attributes:
        size: Height and width of the result.
        edges: Height and width that the resize step aims at.
        squash: Whether it reaches both, or keeps the aspect ratio.
        crop_start: How half a pixel before the crop is rounded.
        interpolation: Resampling filter.
        gain: Per channel: what a value from 0 to 1 is multiplied by ...
        offset: ... and what is then added.
    """

    size: tuple[int, int]
    edges: tuple[int, int]
    squash: bool
    crop_start: str
    interpolation: str
    gain: tuple[float, ...]
    offset: tuple[float, ...]

    def axes(
        self, height: Any, width: Any, maximum: Callable[[Any, Any], Any] = max
    ) -> tuple[Axis, Axis]:
        """Rows and columns of an image of that size.

        In integers only: a quotient of floats may fall on the other side of a half.

        Args:
            height: Of the image; an int, or an integer tensor.
            width: The same.
            maximum: The larger of two such numbers.
        """
        rows, columns = self.edges
        if not self.squash:
            # The factor is the larger of the two that make one edge fit.
            part = _floor if rows == columns else _half_even
            by_width = part(height * columns, width, maximum)
            by_height = part(width * rows, height, maximum)
            rows, columns = maximum(rows, by_width), maximum(columns, by_height)
        begin = _floor if self.crop_start == "floor" else _half_even
        first, second = (
            Axis(source, resized, begin(resized - kept, 2, maximum), kept)
            for source, resized, kept in zip(
                (height, width), (rows, columns), self.size, strict=True
            )
        )
        return first, second


def _floor(a: Any, b: Any, maximum: Callable[[Any, Any], Any]) -> Any:
    """`a / b`, cut off."""
    return a // b


def _half_even(a: Any, b: Any, maximum: Callable[[Any, Any], Any]) -> Any:
    """`a / b`, rounded as Python's `round` does."""
    above = (2 * a + b) // (2 * b)
    is_half = maximum(0, 1 - (2 * a + b) % (2 * b))
    return above - is_half * (above % 2)


def stated(config: ViTConfig, dims: int, needed: str) -> DataConfig:
    """The config's `data`, of images or of volumes.

    Args:
        config: The model.
        dims: How many spatial axes it must have.
        needed: What `data` must state, in words.

    Raises:
        ConfigError: If it is a model of others, or if nothing is stated.
    """
    if config.spatial_dims != dims:
        only = {2: "images", 3: "volumes"}[dims]
        line = f"spatial_dims: found {config.spatial_dims}; only {only}, {dims}"
        raise ConfigError([line], WHAT)
    if config.data is None:
        line = "data: the model does not state its preprocessing, and it is not "
        raise ConfigError([f"{line}guessed; state {needed}"], WHAT)
    return config.data


def make_plan(config: ViTConfig) -> Plan:
    """Works out what the config's `data` says.

    Raises:
        ConfigError: If it does not say all of it, or something that is not done here.
            Nothing is filled in: what a model was trained with cannot be guessed.
    """
    data = stated(config, 2, ", ".join(f"data.{name}" for name in _NEEDED))
    problems = [
        f"data.{name}: not stated, and not guessed; {allowed}"
        for name, allowed in _NEEDED.items()
        if getattr(data, name) is None
    ]
    if data.crop_mode == "border":
        problems.append("data.crop_mode: found 'border'; only 'center' or 'squash'")
    extent = data.input_range
    if extent is not None and (len(extent) != 2 or extent[0] >= extent[1]):
        problems.append(f"data.input_range: found {extent}; a lower and an upper end")
    if problems:
        raise ConfigError(problems, WHAT)
    low, high = data.input_range or ()
    mean, std = data.mean or (), data.std or ()
    height, width = config.img_size
    return Plan(
        size=(height, width),
        edges=(_edge(height, data.crop_pct), _edge(width, data.crop_pct)),
        squash=data.crop_mode == "squash",
        crop_start=data.crop_start or "round",
        interpolation=str(data.interpolation),
        gain=tuple((high - low) / s for s in std),
        offset=tuple((low - m) / s for m, s in zip(mean, std, strict=True)),
    )


def _edge(size: int, crop_pct: float | None) -> int:
    """An edge before the crop.

    Where `crop_pct` was once the quotient of two sizes, dividing by it may end a hair
    below the whole number that was meant.
    """
    return floor(size / (crop_pct or 1.0) + 1e-6)


def white_of(dtype: str, white: float | None) -> float:
    """The level that is white, for images of that type.

    Args:
        dtype: Of the images.
        white: What the user says of float images.

    Raises:
        TypeError: If it is neither 8 bits nor float.
        ValueError: If it is float and nobody says what white is.
    """
    if dtype == "uint8":
        return WHITE
    if not dtype.startswith(("float", "bfloat")):
        raise TypeError(f"images: found {dtype}; only uint8 or float")
    if white is None:
        raise ValueError(
            f"images: found {dtype}, whose range nobody states; say white=255.0 or "
            "white=1.0, or give uint8"
        )
    return white


def check_white(white: float | None, spatial_dims: int = 2) -> None:
    """Raises a `ValueError` unless it is None or, of images, a level above 0."""
    if white is not None and spatial_dims == 3:
        raise ValueError(f"white: found {white}; volumes have none")
    if white is not None and not 0 < white < float("inf"):
        raise ValueError(f"white: found {white}; a level above 0, such as 255.0 or 1.0")


def check_shape(shape: tuple[Any, ...], channels: int, axis: int) -> None:
    """Checks (B, C, H, W) or (B, H, W, C); None is a length not yet known.

    Raises:
        ValueError: If there are other axes or channels, or no pixels.
    """
    layout = "(B, C, H, W)" if axis == 1 else "(B, H, W, C)"
    if len(shape) != 4:
        raise ValueError(f"images: found shape {tuple(shape)}; expected {layout}")
    if shape[axis] != channels:
        raise ValueError(
            f"images: found shape {tuple(shape)}, {shape[axis]} channels; expected "
            f"{layout} with {channels}"
        )
    if 0 in tuple(shape)[1:]:
        raise ValueError(f"images: found shape {tuple(shape)}, without a pixel")


@lru_cache(maxsize=64)
def matrix(axis: Axis, interpolation: str) -> Any:
    """The weights of an axis whose numbers are known.

    Returns:
        A read-only NumPy array (kept, source), float32, made in float64.
    """
    import numpy as np

    made = weights(axis, interpolation, np).astype(np.float32)
    made.flags.writeable = False  # it is shared
    return made


def weights(axis: Axis, interpolation: str, xp: Any) -> Any:
    """The matrix (kept, source) that resizes one axis and crops it.

    Distances are quotients of integers, exact however large the image is; float32
    coordinates would be off by 1e-4 of a pixel in a row of 4000. (In a graph the
    integers must have 64 bits: twice source times resized is large in a panorama.)

    Args:
        axis: The axis.
        interpolation: Resampling filter.
        xp: NumPy, or a module with its functions (`keras.ops`).
    """
    old, new = axis.source, axis.resized
    points = 2 * xp.add(xp.arange(axis.kept), axis.start) + 1
    index = xp.arange(old)
    if interpolation == "nearest":
        hit = xp.equal(index[None, :], ((points * old) // (2 * new))[:, None])
        return xp.where(hit, 1.0, 0.0)
    difference = ((2 * index + 1) * new)[None, :] - (points * old)[:, None]
    distance = xp.abs(xp.divide(difference, 2 * xp.maximum(old, new)))
    value = _FILTERS[interpolation](distance, xp)
    return value / xp.sum(value, axis=1, keepdims=True)


def _triangle(x: Any, xp: Any) -> Any:
    return xp.maximum(1.0 - x, 0.0)


def _cubic(x: Any, xp: Any) -> Any:
    """Keys (1981), with a slope of a = -1/2 at 1."""
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return xp.where(x < 1.0, near, xp.where(x < 2.0, far, 0.0))


def _lanczos(x: Any, xp: Any) -> Any:
    return xp.where(x < 3.0, _sinc(x, xp) * _sinc(x / 3.0, xp), 0.0)


def _sinc(x: Any, xp: Any) -> Any:
    at_zero = xp.equal(x, 0.0)
    angle = xp.where(at_zero, 1.0, pi * x)
    return xp.where(at_zero, 1.0, xp.sin(angle) / angle)


_FILTERS = {"bilinear": _triangle, "bicubic": _cubic, "lanczos": _lanczos}
