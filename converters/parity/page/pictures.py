"""Inputs with the attention of both models, for a page its owner keeps to themselves.

The record holds no pixels; these are shown only if somebody asked for them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.extras import optional
from converters.parity.page.text import number, plural

Array = npt.NDArray[np.generic]

LONGEST = 256
"""Longest side of an embedded picture, in pixels; larger inputs are thinned out."""

AXES = {2: ("",), 3: ("first axis", "second axis", "third axis")}


@dataclass(frozen=True, slots=True)
class Picture:
    """One input, and what both models attend to in it.

    Attributes:
        input: What the models were given, (C, *spatial); scaled to its own range.
        attention_a: Attention of A over the grid of patches, (*grid), at least 0.
        attention_b: The same of B.
        subject: Who B is, as in `Check`.
        title: What the input is called: `"input 1"`.
        what: Which attention that is: `"last block, mean over heads, class token"`.
    """

    input: Array
    attention_a: Array
    attention_b: Array
    subject: str = ""
    title: str = ""
    what: str = ""

    def __post_init__(self) -> None:
        spatial = self.input.ndim - 1
        if spatial not in AXES:
            raise ValueError(
                f"an input of shape {self.input.shape} is neither (C, H, W) nor "
                "(C, D, H, W)"
            )
        for name in ("attention_a", "attention_b"):
            found = getattr(self, name).shape
            if len(found) != spatial or found != self.attention_a.shape:
                raise ValueError(
                    f"{name} has the shape {found}; a grid with {spatial} axes, the "
                    "same for A and B, is needed"
                )


@dataclass(frozen=True, slots=True)
class Panel:
    """One embedded picture.

    Attributes:
        kind: `"input"`, `"A"`, `"B"` or `"difference"`.
        label: What it shows, in words.
        uri: The PNG as a data URI.
        width: Of the input on this axis, for the right proportions.
        height: Likewise.
    """

    kind: str
    label: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PictureView:
    """All panels of one input: for a volume one row for the middle of each axis."""

    picture: Picture
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    largest: str
    difference: str


def views(pictures: Sequence[Picture]) -> list[PictureView]:
    """Embeds all pictures.

    Raises:
        MissingExtraError: If matplotlib, which has the colours, is not installed.
    """
    return [_view(picture) for picture in pictures]


def _view(picture: Picture) -> PictureView:
    a = np.asarray(picture.attention_a, np.float64)
    b = np.asarray(picture.attention_b, np.float64)
    top = _largest(np.stack([a, b]))
    apart = b - a
    most = _largest(np.abs(apart))
    whole = np.asarray(picture.input, np.float64)
    said = "equal" if np.array_equal(a, b) else f"at most {number(most)}"
    if not np.isfinite(apart).all():
        lost = int((~np.isfinite(apart)).sum())
        said = f"not finite in {plural(lost, 'patch', 'patches')}"
    rows = []
    for axis, name in enumerate(AXES[a.ndim]):
        given, one, two, delta = whole, a, b, apart
        if a.ndim == 3:
            given = _middle(whole, axis + 1)
            one, two, delta = (_middle(x, axis) for x in (a, b, apart))
        height, width = given.shape[1:]
        panels = (
            ("input", "input", gray_or_colour(given)),
            ("A", "attention of A", _coloured(one, "viridis", 0.0, top)),
            ("B", "attention of B", _coloured(two, "viridis", 0.0, top)),
            ("difference", "B minus A", _coloured(delta, "PuOr", -most, most)),
        )
        found = [Panel(k, label, _uri(p), width, height) for k, label, p in panels]
        rows.append((name, tuple(found)))
    return PictureView(picture, tuple(rows), number(top), said)


def _largest(values: npt.NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else 0.0


def _middle(values: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
    middle: npt.NDArray[np.float64] = np.take(values, values.shape[axis] // 2, axis)
    return middle


def _unit(
    values: npt.NDArray[np.float64], low: float, high: float
) -> npt.NDArray[np.float64]:
    """To 0 ... 1; what is not finite becomes 0."""
    span = high - low
    scaled = (values - low) / span if span > 0 else np.full_like(values, 0.5)
    return np.clip(np.nan_to_num(scaled, posinf=0.0, neginf=0.0), 0.0, 1.0)


def gray_or_colour(image: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """(C, H, W) to 8 bit (H, W) or (H, W, 3): three channels are red, green, blue."""
    step = -(-max(image.shape[1:]) // LONGEST)
    image = image[:, ::step, ::step]
    if image.shape[0] != 3:
        image = image[:1]
    finite = image[np.isfinite(image)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    bytes_ = np.rint(_unit(image, float(low), float(high)) * 255).astype(np.uint8)
    return bytes_[0] if len(bytes_) == 1 else np.moveaxis(bytes_, 0, -1)


def _coloured(
    grid: npt.NDArray[np.float64], colours: str, low: float, high: float
) -> npt.NDArray[np.uint8]:
    table: Any = optional("matplotlib", "report").colormaps[colours]
    found: npt.NDArray[np.uint8] = table(_unit(grid, low, high), bytes=True)[..., :3]
    return found


def _uri(pixels: npt.NDArray[np.uint8]) -> str:
    image: Any = optional("PIL.Image", "report")
    file = io.BytesIO()
    image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
