"""The picture: samples with both predictions, and the difference layer by layer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from converters.demo.report import CaseReport, LayerError, percent
from converters.demo.task import Array, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from converters.workers.process import Fresh

SAMPLES = 10
WRONG_SAMPLES = 2
INK, MUTED, BAND = "#1f2933", "#7b8794", "#e4e7eb"
TORCH, KERAS, WRONG = "#9aa5b1", "#0b6e99", "#c0392b"
LEAST = 1e-9  # the log axis has no zero


@dataclass(frozen=True, slots=True)
class Panel:
    """One task's part of the picture: predictions over its test split, and errors."""

    task: Task
    torch: Array
    keras: Array
    report: CaseReport


def draw(panels: Sequence[Panel], fresh: Fresh, path: Path) -> None:
    """Draws everything into one PNG file, the same bytes for the same findings."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _quiet():
        figure = Figure(figsize=(13, 4.9 * len(panels)), facecolor="white")
        FigureCanvasAgg(figure)
        rows = figure.subfigures(len(panels), 1, squeeze=False)[:, 0]
        for panel, part in zip(panels, rows, strict=True):
            _draw_panel(panel, fresh, part)
        figure.savefig(path, dpi=130, format="png", metadata={"Software": None})


def _draw_panel(panel: Panel, fresh: Fresh, part: SubFigure) -> None:
    report = panel.report
    slices = "; middle slices" if panel.task.config.spatial_dims == 3 else ""
    part.suptitle(
        f"{panel.task.title}  {percent(report.torch_accuracy)} right, "
        f"{report.same} of {report.inputs} predictions the same" + slices,
        x=0.02,
        y=0.98,
        ha="left",
        fontsize=12,
        color=INK,
        weight="bold",
    )
    samples, plot = part.subfigures(2, 1, squeeze=False, height_ratios=[1, 1.25])[:, 0]
    samples.subplots_adjust(left=0.02, right=0.99, top=0.62, bottom=0.02, wspace=0.1)
    axes = np.atleast_1d(samples.subplots(1, SAMPLES))
    chosen = pick(panel.task.split.test_y, panel.torch, panel.keras)
    for axis in axes:
        axis.axis("off")
    for axis, index in zip(axes, chosen, strict=False):
        _sample(axis, panel, index)
    plot.subplots_adjust(left=0.06, right=0.99, top=0.9, bottom=0.35)
    _layers(plot.subplots(), report.layers, fresh)


def pick(y: Array, torch: Array, keras: Array) -> list[int]:
    """Which samples to show: some of each class, at the end some that are wrong."""
    wrong = np.flatnonzero((torch != y) | (keras != y))
    wrong = np.concatenate([np.flatnonzero(torch != keras), wrong])
    last = list(dict.fromkeys(int(i) for i in wrong))[:WRONG_SAMPLES]
    right = [np.setdiff1d(np.flatnonzero(y == k), wrong) for k in np.unique(y)]
    count = SAMPLES - len(last)
    first: list[int] = []
    for k, members in enumerate(right):
        share = len(range(k, count, len(right)))
        places = np.linspace(0, len(members), share + 2)[1:-1].astype(int)
        first += [int(members[i]) for i in places if i < len(members)]
    return first + last


def _sample(axis: Axes, panel: Panel, index: int) -> None:
    task = panel.task
    image = task.split.test_x[index, 0]
    if image.ndim == 3:
        image = image[:, :, image.shape[2] // 2].T  # the middle slice, front up
        axis.imshow(image, cmap="gray", origin="lower")
    else:
        axis.imshow(image, cmap="gray_r")
    labels = task.config.labels or tuple(map(str, range(task.config.num_classes)))
    truth = int(task.split.test_y[index])
    said = (("torch", int(panel.torch[index])), ("Keras", int(panel.keras[index])))
    lines = [(f"{who}: {labels[k]}", MUTED if k == truth else WRONG) for who, k in said]
    for row, (text, colour) in enumerate([(labels[truth], INK), *lines]):
        axis.annotate(
            text,
            (0.5, 1),
            (0, 26 - 11 * row),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            fontsize=8,
            weight="normal" if row else "bold",
            color=colour,
        )


def _layers(axis: Axes, layers: Sequence[LayerError], fresh: Fresh) -> None:
    x = np.arange(len(layers))
    torch = np.maximum([layer.torch for layer in layers], LEAST)
    keras = np.maximum([layer.keras for layer in layers], LEAST)
    bottom = min(torch.min(), keras.min()) / 2
    axis.fill_between(
        x, bottom, 2 * torch, color=BAND, lw=0, label="up to twice the noise: rounding"
    )
    axis.plot(x, torch, color=TORCH, lw=1.4, label="PyTorch in float32: the noise")
    name = f"Keras on {fresh.backend}"
    axis.plot(x, keras, "o", color=KERAS, ms=3.8, label=name)
    axis.set_yscale("log")
    axis.set_ylim(bottom, max(2 * torch.max(), keras.max()) * 2)
    axis.set_xlim(-0.5, len(layers) - 0.5)
    axis.set_ylabel("RMS error against\nfloat64, relative", fontsize=8, color=INK)
    axis.set_xticks(x, [_short(layer.name) for layer in layers], rotation=90)
    axis.tick_params(axis="x", labelsize=7, length=2, colors=INK)
    axis.tick_params(axis="y", labelsize=7, colors=INK)
    for place, label in _blocks(layers):
        axis.axvline(place - 0.5, color=MUTED, lw=0.6, ls=":")
        if label:
            axis.text(
                place - 0.35,
                0.96,
                label,
                transform=axis.get_xaxis_transform(),
                va="top",
                fontsize=7,
                color=MUTED,
            )
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.legend(
        fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False
    )


def _short(name: str) -> str:
    """Without the block's number, which stands above."""
    return name.split(".", 2)[2] if name.startswith("blocks.") else name


def _blocks(layers: Sequence[LayerError]) -> Iterator[tuple[int, str]]:
    """Where a block begins, or the last one ends."""
    before = ""
    for place, layer in enumerate(layers):
        parts = layer.name.split(".")
        here = f"block {parts[1]}" if parts[0] == "blocks" else ""
        if here != before:
            yield place, here
        before = here


@contextmanager
def _quiet() -> Iterator[None]:
    """Without matplotlib's notes on its font cache, which it makes once."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
