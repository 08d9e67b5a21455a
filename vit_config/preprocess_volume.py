"""What `data` of a config does to a volume: the one plan that both twins follow.

A scan is read before (`converters.inputs.volume`): turned to `orientation`, whose
axes are `axes`, and resampled to `spacing_mm` where `spacing_mode` says so; values in
the scan's own units, such as Hounsfield's. Then, each volume for itself:

| step | fields of `DataConfig` | what is done |
| --- | --- | --- |
| intensity | `intensity`, `input_range` | a window, percentiles or a z-score |
| normalise | `mean`, `std` | minus the mean, divided by the deviation |
| fit | `fit`, `interpolation`, `pad_value` | to the size of the model |

`fit_first` puts the fit before the other two. In MONAI 1.6.1 these are the transforms
ScaleIntensityRange, ScaleIntensityRangePercentiles, NormalizeIntensity (with or without
subtrahend and divisor), Resize and ResizeWithPadOrCrop.

**Intensity.** A window or percentile range goes to `input_range`, linearly, and what is
beyond it is cut off (`clip`). Percentiles interpolate between the two nearest values. A
z-score has the mean 0 and the deviation 1 (of all voxels: n, not n - 1, below the
root). Where all values are one, a percentile range only subtracts it, and a z-score
makes 0 of it. All of this is of all channels together, unless `channel_wise`.

**Pad or crop.** The middle: of `n` voxels, `m` are kept from `n // 2 - m // 2`; `n`
begin at `(m - n) // 2` among `m`.

**Resize**, one axis at a time, without antialiasing, as torch's `interpolate`. Output
`i` of `m` lies at `(i + 1/2) n / m - 1/2`, in no case beyond the outermost of `n`
voxels: linear between two of them (`"bilinear"`, in three axes trilinear). `"nearest"`
is voxel `floor(i n / m)`, `"area"` the mean from there to `ceil((i + 1) n / m)`. torch
has such places in float32: at 500 voxels they are off by up to 3e-5 of a voxel, and
`"nearest"` may take the voxel before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import floor
from typing import Any

from vit_config.config import ViTConfig
from vit_config.data import DataConfig, IntensityConfig
from vit_config.errors import ConfigError
from vit_config.preprocess import WHAT, Plan, make_plan, stated
from vit_config.wording import setting

LOWEST = -(2.0**127)  # exact in float32, and below every voxel

_NEEDED = {
    "axes": "such as ['X', 'Y', 'Z']",
    "orientation": "such as 'RAS'",
    "spacing_mm": "a spacing for each axis, or data.spacing_mode='keep'",
    "fit": "'resize' or 'pad_or_crop'",
    "fit_first": "true if the fit comes before the intensity, else false",
}


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """Preprocessing with its numbers worked out, for volumes of any size.

    Attributes:
        size: Voxels of the result along each axis.
        intensity: The intensity step, if there is one.
        bottom: Lower end of the range that it leads to.
        top: Upper end.
        mean: Per channel; empty if nothing is subtracted and divided by.
        std: The same.
        fit: How a volume comes to `size`.
        fit_first: Whether that is the first step or the last.
        interpolation: Of `"resize"`.
        pad_value: Of `"pad_or_crop"`.
    """

    size: tuple[int, ...]
    intensity: IntensityConfig | None
    bottom: float
    top: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: str
    fit_first: bool
    interpolation: str
    pad_value: float

    @property
    def clip(self) -> bool:
        """Whether a range is cut off."""
        return self.intensity is not None and self.intensity.clip is not False

    @property
    def channel_wise(self) -> bool:
        """Whether each channel has percentiles, or mean and deviation, of its own."""
        return self.intensity is not None and bool(self.intensity.channel_wise)

    @property
    def nonzero(self) -> bool:
        """Whether a z-score is that of the voxels which are not 0."""
        return self.intensity is not None and bool(self.intensity.nonzero)


def plan_of(config: ViTConfig) -> Plan | VolumePlan:
    """Works out what the config's `data` says, of images or of volumes.

    Raises:
        ConfigError: As `make_plan` and `make_volume_plan`.
    """
    return make_plan(config) if config.spatial_dims == 2 else make_volume_plan(config)


def make_volume_plan(config: ViTConfig) -> VolumePlan:
    """Works out what the config's `data` says.

    Raises:
        ConfigError: If it does not say all of it, or something that is not done here.
            Nothing is filled in: what a model was trained with cannot be guessed.
    """
    needed = ", ".join(f"data.{name}" for name in _NEEDED)
    data = stated(config, 3, f"{needed} and data.intensity, or data.mean and data.std")
    problems = [*axes_problems(data), *_fit_problems(data), *_value_problems(data)]
    if problems:
        raise ConfigError(problems, WHAT)
    bottom, top = data.input_range or (0.0, 1.0)
    return VolumePlan(
        size=config.img_size,
        intensity=data.intensity,
        bottom=bottom,
        top=top,
        mean=data.mean or (),
        std=data.std or (),
        fit=str(data.fit),
        fit_first=bool(data.fit_first),
        interpolation=str(data.interpolation),
        pad_value=data.pad_value or 0.0,
    )


def axes_problems(data: DataConfig) -> list[str]:
    """What is not said of how a scan lies: a line for each field."""
    given = {"axes": ["X", "Y", "Z"], "orientation": "RAS", "spacing_mm": [1, 1, 1]}
    problems = [
        f"data.{name}: not stated, and not guessed; {_NEEDED[name]} "
        f"({setting({f'data.{name}': given[name]})})"
        for name in ("axes", "orientation", "spacing_mm")
        if getattr(data, name) is None
        and not (name == "spacing_mm" and data.spacing_mode == "keep")
    ]
    if data.axes is not None and sorted(data.axes) != ["X", "Y", "Z"]:
        # A clip: its axes have no orientation, and nothing of this page is of it.
        line = f"data.axes: found {data.axes}; only volumes, X, Y and Z in some order"
        return [line]
    return problems


def _fit_problems(data: DataConfig) -> list[str]:
    problems = [
        f"data.{name}: not stated, and not guessed; {_NEEDED[name]}"
        for name in ("fit", "fit_first")
        if getattr(data, name) is None
    ]
    if data.fit == "pad_or_crop" and data.pad_value is None:
        problems.append("data.pad_value: not stated, and not guessed; often 0.0")
    known = ("nearest", "bilinear", "area")
    if data.fit == "resize" and data.interpolation not in known:
        found = data.interpolation
        problems.append(
            "data.interpolation: "
            + ("not stated, and not guessed" if found is None else f"found {found!r}")
            + f"; volumes are resized by {', '.join(known)}"
        )
    return problems


def _value_problems(data: DataConfig) -> list[str]:
    intensity, extent, problems = data.intensity, data.input_range, []
    if intensity is None and data.mean is None and data.std is None:
        problems.append(
            "data.intensity: not stated, nor data.mean and data.std, and not guessed; "
            "a mean of 0.0 and std of 1.0 leave values as they are"
        )
    problems += [
        f"data.{name}: not stated, but data.{other} is"
        for name, other in (("mean", "std"), ("std", "mean"))
        if getattr(data, name) is None and getattr(data, other) is not None
    ]
    if intensity is not None and intensity.kind != "zscore":
        problems += [
            f"data.intensity.{end}: not stated, and not guessed"
            for end in ("low", "high")
            if getattr(intensity, end) is None
        ]
        if extent is None:
            problems.append(
                "data.input_range: not stated, and not guessed; what low and high "
                "become, such as [0.0, 1.0]"
            )
    elif extent is not None:
        problems.append(
            f"data.input_range: found {extent} without a window or percentiles that "
            "lead to it"
        )
    if extent is not None and (len(extent) != 2 or extent[0] >= extent[1]):
        problems.append(f"data.input_range: found {extent}; a lower and an upper end")
    return problems


def check_volume(shape: tuple[Any, ...], dtype: str, channels: int, axis: int) -> None:
    """Checks (B, C, *spatial) or (B, *spatial, C); None is a length not yet known.

    Raises:
        TypeError: If the voxels are neither floats nor integers.
        ValueError: If there are other axes or channels, or no voxels.
    """
    layout = "(B, C, *spatial)" if axis == 1 else "(B, *spatial, C)"
    if not dtype.startswith(("float", "bfloat", "int", "uint")):
        raise TypeError(f"volumes: found {dtype}; only floats or integers")
    if len(shape) != 5:
        raise ValueError(
            f"volumes: found shape {tuple(shape)}; expected {layout} in 3D"
        )
    if shape[axis] != channels:
        raise ValueError(
            f"volumes: found shape {tuple(shape)}, {shape[axis]} channels; expected "
            f"{layout} with {channels}"
        )
    if 0 in tuple(shape)[1:]:
        raise ValueError(f"volumes: found shape {tuple(shape)}, without a voxel")


def rank(percent: float, count: int) -> tuple[int, int, float]:
    """Which two of `count` sorted values a percentile lies between, and where."""
    position = percent / 100 * (count - 1)
    below = floor(position)
    return below, min(below + 1, count - 1), position - below


def taken(
    old: Any, new: int, xp: Any, maximum: Callable[[Any, Any], Any] = max
) -> tuple[Any, Any]:
    """Padding or cropping of one axis.

    Args:
        old: Voxels of the source; an int, or an integer tensor.
        new: Voxels of the result.
        xp: NumPy, or a module with its functions (`keras.ops`).
        maximum: The larger of two such numbers.

    Returns:
        For each voxel of the result, its index in the source, and whether there is one.
    """
    start = maximum(old // 2 - new // 2, 0) - maximum(new - old, 0) // 2
    index = xp.arange(new) + start
    inside = xp.logical_and(index >= 0, index < old)
    return xp.clip(index, 0, old - 1), inside


def between(old: Any, new: int, interpolation: str, xp: Any) -> tuple[Any, Any, Any]:
    """Which two voxels each one of a resized axis lies between, and where.

    In integers only: a quotient of floats may fall on the other side of a voxel.

    Args:
        old: Voxels of the source; an int, or an integer tensor.
        new: Voxels of the result.
        interpolation: `"nearest"` or `"bilinear"`.
        xp: NumPy, or a module with its functions (`keras.ops`).

    Returns:
        Index of the lower and of the upper voxel, and the weight of the upper one.
    """
    points = xp.arange(new)
    if interpolation == "nearest":
        lower = (points * old) // new
        return lower, lower, xp.zeros(new)
    place = xp.clip((2 * points + 1) * old - new, 0, 2 * new * (old - 1))
    lower = place // (2 * new)
    part = xp.divide(place - lower * (2 * new), 2 * new)
    return lower, xp.clip(lower + 1, 0, old - 1), part


def area(old: Any, new: int, xp: Any) -> Any:
    """The matrix (new, old) that has the means over equal parts of an axis.

    Args:
        old: Voxels of the source; an int, or an integer tensor.
        new: Voxels of the result.
        xp: NumPy, or a module with its functions (`keras.ops`).
    """
    points, index = xp.arange(new)[:, None], xp.arange(old)[None, :]
    begin, end = (points * old) // new, ((points + 1) * old + new - 1) // new
    part = xp.logical_and(index >= begin, index < end)
    return xp.where(part, xp.divide(1, end - begin), 0.0)


@lru_cache(maxsize=256)
def constant(kind: str, old: int, new: int) -> tuple[Any, ...]:
    """`taken` (`"pad_or_crop"`), `between` or `area` of numbers that are known.

    Returns:
        Read-only NumPy arrays: int64, bool or float32.
    """
    import numpy as np

    made: tuple[Any, ...]
    if kind == "pad_or_crop":
        made = taken(old, new, np)
    elif kind == "area":
        made = (area(old, new, np).astype(np.float32),)
    else:
        lower, upper, part = between(old, new, kind, np)
        made = (lower, upper, part.astype(np.float32))
    for array in made:
        array.flags.writeable = False  # it is shared
    return made
