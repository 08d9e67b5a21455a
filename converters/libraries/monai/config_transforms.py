"""MONAI's transforms that say what a model's inputs are, as fields of `DataConfig`.

Written from MONAI 1.6.1, with its own defaults: each reader takes the arguments of one
transform, without its keys, and takes them all or raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from vit_config.data_checks import LETTERS

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
    axes = [LETTERS.get(letter, "") for letter in str(code)]
    named = {"axes": axes} if sorted(axes) == ["X", "Y", "Z"] else {}
    return {"orientation": str(code), **named}


def _spacing(given: dict[str, Any]) -> dict[str, Any]:
    size = given.pop("pixdim")
    mode = given.pop("mode", "bilinear")
    given.pop("align_corners", None)  # the same voxels, with a border
    _only(
        given,
        padding_mode="border",
        diagonal=False,
        scale_extent=False,
        recompute_affine=False,
    )
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"mode={mode!r} cannot be held")
    sizes = [float(value) for value in (size if isinstance(size, list) else [size] * 3)]
    if len(sizes) != 3 or min(sizes) <= 0:
        raise ValueError(f"pixdim={size!r}: a spacing for each of three axes")
    return {"spacing_mm": sizes, "spacing_mode": mode}


def _window(given: dict[str, Any]) -> dict[str, Any]:
    low, high = float(given.pop("a_min")), float(given.pop("a_max"))
    bottom, top = given.pop("b_min", None), given.pop("b_max", None)
    clip = bool(given.pop("clip", False))
    _only(given)
    if bottom is None and top is None and not clip:
        bottom, top = 0.0, 1.0  # what a_min and a_max then become
    if bottom is None or top is None:
        raise ValueError("b_min and b_max must be stated")
    intensity = {"kind": "window", "low": low, "high": high, "clip": clip}
    return {"intensity": intensity, "input_range": [float(bottom), float(top)]}


def _percentiles(given: dict[str, Any]) -> dict[str, Any]:
    low, high = float(given.pop("lower")), float(given.pop("upper"))
    bottom, top = float(given.pop("b_min")), float(given.pop("b_max"))
    clip, each = bool(given.pop("clip", False)), bool(given.pop("channel_wise", False))
    _only(given, relative=False)
    intensity = {"kind": "percentile", "low": low, "high": high, "clip": clip}
    intensity["channel_wise"] = each
    return {"intensity": intensity, "input_range": [bottom, top]}


def _minmax(given: dict[str, Any]) -> dict[str, Any]:
    bottom, top = given.pop("minv", 0.0), given.pop("maxv", 1.0)
    ends = {"lower": 0, "upper": 100, "b_min": bottom, "b_max": top, "clip": True}
    ends["channel_wise"] = given.pop("channel_wise", False)
    _only(given, factor=None)
    return _percentiles(ends)


def _normalise(given: dict[str, Any]) -> dict[str, Any]:
    mean, std = given.pop("subtrahend", None), given.pop("divisor", None)
    if mean is None and std is None:
        flags = {
            key: bool(given.pop(key, False)) for key in ("nonzero", "channel_wise")
        }
        _only(given)
        return {"intensity": {"kind": "zscore", **flags}}
    if mean is None or std is None:
        raise ValueError("subtrahend or divisor alone: the other is each scan's own")
    _only(given, nonzero=False, channel_wise=(False, True))
    return {
        key: [float(item) for item in (value if isinstance(value, list) else [value])]
        for key, value in (("mean", mean), ("std", std))
    }


_MODES = {"nearest": "nearest", "trilinear": "bilinear"}
_MODES |= {"bilinear": "bilinear", "linear": "bilinear", "bicubic": "bicubic"}
_MODES |= {"area": "area", "nearest-exact": "nearest-exact"}


def _resize(given: dict[str, Any]) -> dict[str, Any]:
    given.pop("spatial_size")
    mode = given.pop("mode", "area")
    _only(given, size_mode="all", align_corners=(None, False), anti_aliasing=False)
    if mode not in _MODES:
        raise ValueError(f"mode={mode!r} cannot be held")
    return {"fit": "resize", "interpolation": _MODES[mode]}


def _pad_or_crop(given: dict[str, Any]) -> dict[str, Any]:
    given.pop("spatial_size")
    value = float(given.pop("value", 0.0))
    _only(given, method="symmetric", mode="constant")
    return {"fit": "pad_or_crop", "pad_value": value}


def check_reader(given: dict[str, Any]) -> None:
    """Refuses readers of pictures that put the columns first.

    So do MONAI's for PNG, JPEG and DICOM (`PILReader`, `ITKReader`) unless told not to;
    a picture of 20 rows and 31 columns becomes (C, 31, 20).

    Raises:
        ValueError: If a picture may be turned so.
    """
    rows_first = given.get("reverse_indexing") is False
    if not rows_first and given.get("reader") != "NumpyReader":
        raise ValueError(
            "without reverse_indexing=False: MONAI's readers put the columns of a "
            "picture before its rows, which cannot be held of images"
        )


READERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "Orientation": _orientation,
    "Spacing": _spacing,
    "ScaleIntensityRange": _window,
    "ScaleIntensityRangePercentiles": _percentiles,
    "ScaleIntensity": _minmax,
    "NormalizeIntensity": _normalise,
    "Resize": _resize,
    "ResizeWithPadOrCrop": _pad_or_crop,
}
