"""Hugging Face `preprocessor_config.json`: what is done to an image before the model.

Read from transformers 5.23.0 and the files of 4.x, which say less and leave the rest to
the class; where a file names no class, `IMAGE_PROCESSOR_MAPPING_NAMES` has it. The
sizes are relative here: the crop is a fraction of the resized image, and the size
itself is the model's. (Some published files resize to another size than their model's
own, and rely on the library to resample its positions.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converters.libraries.config_fields import (
    Refused,
    Same,
    Spec,
    Take,
    flag,
    number,
    read,
)
from vit_config.errors import ConfigError
from vit_config.wording import setting

WHAT = "Hugging Face preprocessor"

_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # numbers of PIL
_OPENAI = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_PHOTO: dict[str, Any] = {"size": {"shortest_edge": 224}, "do_center_crop": True}
_CLASSES: dict[str, dict[str, Any]] = {
    # class: what it does where the file says nothing, if not what ViT's does
    "ViT": {},
    "DeiT": {"size": 256, "resample": 3, "do_center_crop": True},
    "Siglip": {"resample": 3},
    "Bit": {**_PHOTO, **_OPENAI, "resample": 3},
    "CLIP": {**_PHOTO, **_OPENAI, "resample": 3},
    "VideoMAE": _PHOTO,
    "Vivit": {
        **_PHOTO,
        "size": {"shortest_edge": 256},
        "rescale_factor": 1 / 127.5,
        "offset": True,
    },
}
_MODELS = {
    # model_type: its own class, where that is not ViT's
    "deit": "DeiT",
    "dinov2": "Bit",
    "dinov2_with_registers": "Bit",
    "clip": "CLIP",
    "clip_vision_model": "CLIP",
    "siglip": "Siglip",
    "siglip_vision_model": "Siglip",
    "videomae": "VideoMAE",
    "vivit": "Vivit",
}
_SQUARE = ("ViT", "DeiT", "Siglip")  # for these one number is height and width
_ENDS = (
    "ImageProcessorFast",
    "ImageProcessorPil",
    "ImageProcessor",
    "FeatureExtractor",
)


def _kind(value: Any) -> str:
    for end in _ENDS:
        name = str(value).removesuffix(end)
        if name != value and name in _CLASSES:
            return name
    raise Refused(f"the image processor of {', '.join(_CLASSES)}")


def _filter(value: Any) -> str:
    found = None if isinstance(value, bool) else _FILTERS.get(value)
    if found is None:
        raise Refused(f"one of {', '.join(map(str, _FILTERS))}, as PIL counts")
    return found


def _size(value: Any) -> dict[str, int]:
    found = {"": value} if isinstance(value, int) else value
    numbers = isinstance(found, Mapping) and all(
        isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in found.values()
    )
    allowed = [{""}, {"shortest_edge"}, {"height", "width"}]
    if not numbers or set(found) not in allowed:
        raise Refused("a number, shortest_edge, or height and width")
    return dict(found)


def _numbers(value: Any) -> list[float]:
    values = value if isinstance(value, list | tuple) else [value]
    return [number(item) for item in values]


SPEC = Spec(
    name=WHAT,
    take={
        "do_resize": Take(flag, True),
        "size": Take(_size, 224),
        "resample": Take(_filter, 2),
        "do_center_crop": Take(flag, False),
        "crop_size": Take(_size, 224),
        "do_rescale": Take(flag, True),
        "rescale_factor": Take(number, 1 / 255),
        "offset": Take(flag, False),
        "do_normalize": Take(flag, True),
        "image_mean": Take(_numbers, 0.5),
        "image_std": Take(_numbers, 0.5),
    },
    same={
        "do_pad": Same("a border around the image", (False, None)),
        "pad_size": Same("a border around the image", (None,)),
    },
    ignored={
        "default_to_square": "how one number is read, which the class decides",
        **dict.fromkeys(
            ("processor_class", "image_processor_type", "feature_extractor_type"),
            "says which class it is",
        ),
        **dict.fromkeys(
            (
                "do_convert_rgb",
                "data_format",
                "input_data_format",
                "device",
                "return_tensors",
                "disable_grouping",
                "image_seq_length",
                "size_divisor",
                "_valid_processor_keys",
            ),
            "how images are handed over",
        ),
    },
)


def read_data(
    given: Mapping[str, Any], channels: int, model_type: str = "vit"
) -> dict[str, Any]:
    """Translates a `preprocessor_config.json` into fields of `DataConfig`.

    Args:
        given: The file's content.
        channels: Input channels of the model; a single mean stands for all of them.
        model_type: That of the model's config, which decides the class where the file
            names none.

    Raises:
        ConfigError: With every problem found.
    """
    kind = _kind_of(given, model_type)
    stated = {key: value for key, value in given.items() if value is not None}
    v = read(SPEC, {**_CLASSES[kind], **stated})
    problems = []
    found: dict[str, Any] = {}
    if v["do_resize"]:
        found["interpolation"] = v["resample"]
        try:
            found |= _crop(v, square=kind in _SQUARE)
        except Refused as refused:
            problems.append(f"size: found {v['size']!r}; {refused}")
    elif v["do_center_crop"]:
        problems.append("do_resize: found False with do_center_crop; only True")
    if v["offset"] and kind != "Vivit":
        problems.append("offset: found True; only ViViT's processor has it")
    found["input_range"] = _range(v, problems)
    zeros, ones = [0.0] * channels, [1.0] * channels
    normal = v["do_normalize"]
    for key, field, none in (("image_mean", "mean", zeros), ("image_std", "std", ones)):
        values = v[key] * (channels if len(v[key]) == 1 else 1) if normal else none
        found[field] = values
        if len(values) != channels:
            problems.append(f"{key}: {len(values)} values; the model has {channels}")
    problems += _statistics_problems(found)
    if problems:
        raise ConfigError(without_data(problems), WHAT)
    return found


def without_data(problems: Sequence[str]) -> list[str]:
    """The problems of a preprocessing, with how to read the config without it."""
    way = f"{setting({'data': None})} leaves the preprocessing out"
    return [*problems[:-1], f"{problems[-1]}; {way}"]


def _statistics_problems(found: Mapping[str, Any]) -> list[str]:
    """Mean and deviation that cannot be those of values in the range."""
    low, high = found["input_range"]
    mean, std = found["mean"], found["std"]
    problems = []
    if min(std, default=1) <= 0:
        problems.append(f"image_std: found {std}; values are divided by it, above 0")
    if not all(low <= value <= high for value in mean):
        text = f"image_mean: found {mean}, of values from {low:g} to {high:g}"
        problems.append(f"{text} (do_rescale, rescale_factor, offset)")
    return problems


def image_size(given: Mapping[str, Any], model_type: str) -> tuple[int, int] | None:
    """Height and width of the images that a processor makes; None if it keeps theirs.

    Args:
        given: The content of a `preprocessor_config.json` that `read_data` takes.
        model_type: That of the model's config.
    """
    kind = _kind_of(given, model_type)
    stated = {key: value for key, value in given.items() if value is not None}
    v = read(SPEC, {**_CLASSES[kind], **stated})
    size = v["crop_size"] if v["do_center_crop"] else v["size"]
    if not v["do_resize"] or set(size) == {"shortest_edge"}:
        return None
    edge = size.get("")
    return size.get("height", edge), size.get("width", edge)


def _kind_of(given: Mapping[str, Any], model_type: str) -> str:
    for key in ("image_processor_type", "feature_extractor_type"):
        if key in given:
            try:
                return _kind(given[key])
            except Refused as refused:
                line = f"{key}: found {given[key]!r}; {refused}"
                raise ConfigError([line], WHAT) from None
    return _MODELS.get(model_type, "ViT")


def _range(v: Mapping[str, Any], problems: list[str]) -> list[float]:
    if not v["do_rescale"]:
        return [0.0, 255.0]
    top = round(v["rescale_factor"] * 255, 6)
    if v["offset"]:  # of ViViT: one is subtracted after rescaling
        return [-1.0, top - 1.0]
    if top not in (1.0, 2.0):
        problems.append(f"rescale_factor: found {v['rescale_factor']!r}; 1/255 or 1")
    return [0.0, top]


def _crop(v: Mapping[str, Any], square: bool) -> dict[str, Any]:
    """Both edges, or the shortest edge, to a size, of which the middle is kept."""
    size = v["size"]
    if set(size) == {""}:
        edge = size[""]
        size = {"height": edge, "width": edge} if square else {"shortest_edge": edge}
    crop = v["crop_size"] if v["do_center_crop"] else None
    if crop is not None and set(crop) == {""}:
        crop = dict.fromkeys(("height", "width"), crop[""])
    if set(size) == {"shortest_edge"}:
        if crop is None or crop.get("height") != crop.get("width"):
            raise Refused("with shortest_edge there must be a square crop")
        pct, mode = crop["height"] / size["shortest_edge"], "center"
    else:
        crop = crop or size
        rows, columns = (crop.get(k, 0) / size[k] for k in ("height", "width"))
        if rows != columns:
            raise Refused(f"crop_size {crop!r} keeps another part of rows and columns")
        pct, mode = rows, "squash"
    if not 0 < pct <= 1:
        raise Refused(f"a crop of {pct:.3g} times it")
    found = {"crop_pct": pct, "crop_mode": mode}
    # Its processors cut half a pixel off, PIL's and torchvision's alike.
    return {**found, "crop_start": "floor"} if v["do_center_crop"] else found
