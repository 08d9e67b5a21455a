"""What a library does with an image that its patches do not fill."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from converters.errors import ConversionError, Issue
from converters.libraries.shapes import canonical_shapes
from converters.libraries.variant import Shapes, Variant
from converters.wording import setting

_LEAVE_OUT: dict[str, str] = {
    # dialect or variant: whose strided convolution never sees the rest (checked)
    "monai": "MONAI",
    "timm": "timm",
    "huggingface": "transformers",
    "openai_clip": "CLIP",
    "jax": "a convolution without padding",
}
_REFUSE: dict[str, str] = {
    # part of a name: what stops such an image with an error of its own
    "perceptron": "MONAI's perceptron",
    "facebook@dinov2": "DINOv2",
    "torchvision": "torchvision",
    "lucidrains": "vit-pytorch",
}


def check_patches(
    fields: Mapping[str, Any], variant: Variant, shapes: Shapes, file: Any
) -> None:
    """Refuses an image that is no multiple of its patch, with the size that is.

    Args:
        fields: Fields of a config.
        variant: Whose file it is.
        shapes: Shapes of the file, names without prefix.
        file: For the message.

    Raises:
        ConversionError: If a size is no multiple of the patch's.
    """
    sizes = _sizes(fields)
    if sizes is None:
        return
    size, patch = sizes
    whole = tuple(s // p * p for s, p in zip(size, patch, strict=True))
    if whole == size or 0 in whole:
        return
    rows = canonical_shapes(variant, shapes).get("pos_embed", (None, None))[1]
    patches = math.prod(w // p for w, p in zip(whole, patch, strict=True))
    fits = rows is None or rows - patches in _prefixes(fields)
    square = len(set(whole)) == 1
    option = setting(img_size=whole[0] if square else list(whole))
    refusing = next((lib for part, lib in _REFUSE.items() if part in variant.name), "")
    leaving = _LEAVE_OUT.get(variant.name.partition("@")[0], "")
    if refusing:
        hint = f"{refusing} refuses such an image: no file was made for it."
    elif leaving and fits:
        hint = (
            f"{leaving} leaves out what does not fill a patch: {option} is the same "
            f"model, for the first {_text(whole)} pixels of {_text(size)}."
        )
    else:
        hint = "State the size that the model was made for."
    if rows is not None and not fits:
        hint += f" The file has {rows} rows of positions; {_text(whole)} is {patches}."
    issue = Issue(
        "config",
        "img_size",
        _text(size),
        f"a multiple of patch_size {_text(patch)}, as {_text(whole)}",
    )
    raise ConversionError([issue], file=file, dialect=variant.name, hint=hint)


def _sizes(
    fields: Mapping[str, Any],
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Image and patch along each axis; None where they are no sizes."""
    dims = fields.get("spatial_dims", 2)
    found = []
    for name in ("img_size", "patch_size"):
        value = fields.get(name)
        size = (value,) * dims if isinstance(value, int) else tuple(value or ())
        if len(size) != dims or not all(isinstance(s, int) and s > 0 for s in size):
            return None
        found.append(size)
    return found[0], found[1]


def _prefixes(fields: Mapping[str, Any]) -> set[int]:
    """Rows that a position table may have beside those of patches."""
    token, dist = (int(bool(fields.get(n))) for n in ("class_token", "dist_token"))
    return {0, token, token + dist + int(fields.get("reg_tokens") or 0)}


def _text(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
