"""MONAI's transforms that say what a model's inputs are, as fields of `DataConfig`.

Written from MONAI 1.6.1, with its own defaults: each reader takes the arguments of one
transform, without its keys, and takes them all or raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

PASSED_OVER = {
    # they load, hand on, or only change how values are stored
    *("LoadImage", "EnsureChannelFirst", "AddChannel", "AsChannelFirst"),
    *("ToDevice", "Identity", "SelectItems", "DeleteItems", "SaveImage"),
}

CASTS = {"CastToType", "EnsureType", "ToTensor", "CopyItems"}
"""They hand on as well, some of them as another type: see `check_dtype`."""

_FLOATS = re.compile(r"\$?((np|numpy|torch)\.)?(float|float32|float64|double)")


def check_dtype(dtype: Any) -> None:
    """Takes the type that a transform gives its result.

    A type is usually written as code, `"$torch.float32"`, which is compared as text.

    Raises:
        ValueError: If values may be lost in it: whole numbers, or half precision.
    """
    if dtype is not None and not _FLOATS.fullmatch(str(dtype)):
        raise ValueError(f"dtype={dtype!r} cannot be held; float32 or float64 can")


def _only(given: dict[str, Any], **allowed: Any) -> None:
    """Refuses an argument with another value than the one that means nothing."""
    for key, value in given.items():
        if key not in allowed:
            raise ValueError(f"{key}={value!r} cannot be held")
        choices = allowed[key]
        if value not in (choices if isinstance(choices, tuple) else (choices,)):
            raise ValueError(f"{key}={value!r} cannot be held")


def _orientation(given: dict[str, Any]) -> dict[str, Any]:
    code = given.pop("axcodes")
    _only(given, as_closest_canonical=False, labels=None)
    return {"orientation": str(code)}


def _spacing(given: dict[str, Any]) -> dict[str, Any]:
    size = given.pop("pixdim")
    for key in ("mode", "padding_mode", "align_corners"):
        given.pop(key, None)  # of the resampling, which is not kept
    _only(given, diagonal=False, scale_extent=False, recompute_affine=False)
    sizes = [float(value) for value in (size if isinstance(size, list) else [size] * 3)]
    if len(sizes) != 3 or min(sizes) <= 0:
        raise ValueError(f"pixdim={size!r}: a spacing for each of three axes")
    return {"spacing_mm": sizes}


def _window(given: dict[str, Any]) -> dict[str, Any]:
    low, high = float(given.pop("a_min")), float(given.pop("a_max"))
    bottom, top = given.pop("b_min", None), given.pop("b_max", None)
    clip = given.pop("clip", False)
    _only(given)
    if not clip:
        raise ValueError("clip=False cannot be held")
    if bottom is None or top is None:
        raise ValueError("b_min and b_max must be stated")
    intensity = {"kind": "window", "low": low, "high": high}
    return {"intensity": intensity, "input_range": [float(bottom), float(top)]}


def _percentiles(given: dict[str, Any]) -> dict[str, Any]:
    low, high = float(given.pop("lower")), float(given.pop("upper"))
    bottom, top = float(given.pop("b_min")), float(given.pop("b_max"))
    clip = given.pop("clip", False)
    _only(given, relative=False, channel_wise=False)
    if not clip and (low, high) != (0.0, 100.0):
        raise ValueError("clip=False cannot be held")
    intensity = {"kind": "percentile", "low": low, "high": high}
    return {"intensity": intensity, "input_range": [bottom, top]}


def _minmax(given: dict[str, Any]) -> dict[str, Any]:
    bottom, top = given.pop("minv", 0.0), given.pop("maxv", 1.0)
    _only(given, factor=None, channel_wise=False)
    return _percentiles(
        {"lower": 0, "upper": 100, "b_min": bottom, "b_max": top, "clip": True}
    )


def _normalise(given: dict[str, Any]) -> dict[str, Any]:
    mean, std = given.pop("subtrahend", None), given.pop("divisor", None)
    if mean is None and std is None:
        _only(given, nonzero=False, channel_wise=(False, True))
        return {"intensity": {"kind": "zscore"}}
    if mean is None or std is None:
        raise ValueError("subtrahend or divisor alone: the other is each scan's own")
    _only(given, nonzero=False, channel_wise=(False, True))
    return {
        key: [float(item) for item in (value if isinstance(value, list) else [value])]
        for key, value in (("mean", mean), ("std", std))
    }


_MODES = {"nearest": "nearest", "trilinear": "bilinear"}
_MODES |= {"bilinear": "bilinear", "linear": "bilinear", "bicubic": "bicubic"}


def _resize(given: dict[str, Any]) -> dict[str, Any]:
    given.pop("spatial_size")
    mode = given.pop("mode", "area")
    _only(given, size_mode="all", align_corners=(None, False), anti_aliasing=False)
    if mode not in _MODES:
        raise ValueError(f"mode={mode!r} cannot be held")
    return {"interpolation": _MODES[mode], "crop_pct": 1.0, "crop_mode": "squash"}


READERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "Orientation": _orientation,
    "Spacing": _spacing,
    "ScaleIntensityRange": _window,
    "ScaleIntensityRangePercentiles": _percentiles,
    "ScaleIntensity": _minmax,
    "NormalizeIntensity": _normalise,
    "Resize": _resize,
}
