"""Attention over an image, or over three slices of a volume, as a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.extras import optional
from converters.parity.page.pictures import gray_or_colour
from vit_config import DataConfig, ViTConfig

Array = NDArray[Any]

OTHER_END = dict(zip("LRPAIS", "RLAPSI", strict=True))
SEE_THROUGH = 0.55


def draw(
    path: Path, values: Array, maps: dict[str, Array], config: ViTConfig, title: str
) -> None:
    """Draws the input, and each map over it.

    A volume is cut in the middle of each axis. Columns share their colours: from 0 to
    the largest value of the whole map.

    Args:
        path: The file to write.
        values: What the model was given, (C, *spatial); grey levels of its own range.
        maps: By what stands above them; each (*grid).
        config: Of the model; says what the axes of a volume are called.
        title: Above all of it.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    optional("matplotlib", "report")
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    cuts: list[int | None] = [None] if config.spatial_dims == 2 else [0, 1, 2]
    size = (3.6 * (1 + len(maps)), 3.6 * len(cuts) + 1.2)
    figure = Figure(figsize=size, layout="constrained", dpi=120)
    figure.suptitle(title, fontsize=10, parse_math=False)
    heights = [*[1.0] * len(cuts), 0.05]
    axes = figure.subplots(
        len(heights), 1 + len(maps), squeeze=False, height_ratios=heights
    )
    axes[-1][0].axis("off")  # under the input there are no colours to explain
    shown: list[Any] = [None] * len(maps)
    for line, cut in zip(axes[:-1], cuts, strict=True):
        image: Array = np.asarray(values, np.float64)
        index = 0
        if cut is not None:
            index = config.img_size[cut] // 2
            image = image.take(index, cut + 1)
        height, width = image.shape[1:]
        # Pixel 0 is in the middle of its square: so the edges are half a pixel out.
        place = (-0.5, width - 0.5, height - 0.5, -0.5)
        shape = {"extent": place, "aspect": _aspect(config, cut)}
        for axis in line:
            # Colours over colours cannot be read.
            seen = gray_or_colour(image if axis is line[0] else _gray(image))
            axis.imshow(seen, cmap="gray", vmin=0, vmax=255, **shape)
            _name_axes(axis, config, cut, (height, width))
        line[0].set_title(_cut_title(config, cut, index), fontsize=9)
        for number, (name, found) in enumerate(maps.items()):
            part = found
            if cut is not None:
                part = found.take(index // config.patch_size[cut], cut)
            shown[number] = line[number + 1].imshow(
                part,
                cmap="inferno",
                alpha=SEE_THROUGH,
                vmin=0,
                vmax=max(float(found.max()), 1e-12),
                interpolation="nearest",
                **shape,
            )
            line[number + 1].set_title(name, fontsize=9)
    for number, drawn in enumerate(shown):
        below = axes[-1][number + 1]
        ticks = MaxNLocator(4)
        figure.colorbar(drawn, cax=below, orientation="horizontal", ticks=ticks)
    figure.savefig(path, format="png", metadata={"Software": None})


def _gray(image: Array) -> Array:
    """(C, H, W) -> (1, H, W); of red, green and blue the luma of ITU-R BT.601."""
    if len(image) != 3:
        return image[:1]
    return np.tensordot([0.299, 0.587, 0.114], image, 1)[None]


def _others(cut: int) -> tuple[int, int]:
    """The axes of the input that are drawn: downwards, and to the right."""
    first, second = (axis for axis in range(3) if axis != cut)
    return first, second


def _cut_title(config: ViTConfig, cut: int | None, index: int) -> str:
    if cut is None:
        return "input, as the model takes it"
    named = _axis(config, cut)
    return f"input, {named} = {index} of {config.img_size[cut]}"


def _axis(config: ViTConfig, axis: int) -> str:
    names = (config.data or DataConfig()).axes
    return names[axis] if names else f"axis {axis + 1}"


def _name_axes(
    axis: Any, config: ViTConfig, cut: int | None, lengths: tuple[int, int]
) -> None:
    """Of a volume: what the axes are, and which ends of the body they run between."""
    axis.set_xticks([])
    axis.set_yticks([])
    if cut is None:
        return
    down, right = _others(cut)
    axis.set_ylabel(_axis(config, down))
    axis.set_xlabel(_axis(config, right))
    ends = (config.data or DataConfig()).orientation
    if ends:
        first, last = lengths[0] - 1, lengths[1] - 1
        axis.set_yticks([0, first], [OTHER_END[ends[down]], ends[down]])
        axis.set_xticks([0, last], [OTHER_END[ends[right]], ends[right]])


def _aspect(config: ViTConfig, cut: int | None) -> float:
    """Height of a voxel over its width, if what the model takes has a known spacing."""
    data = config.data or DataConfig()
    if cut is None or data.spacing_mm is None or data.fit != "pad_or_crop":
        return 1.0
    down, right = _others(cut)
    return data.spacing_mm[down] / data.spacing_mm[right]
