"""What the weights expect of their inputs and mean by their outputs, said wrongly.

No output of the network shows these: they stand in the config beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from converters.parity.faults.base import Fault, Model
from vit_config import ViTConfig

Edit = Callable[[Any], Any]


def _data(field: str, name: str, does: str, edit: Edit) -> Fault:
    """A change of one field of the preprocessing."""

    def changes(config: ViTConfig) -> dict[str, Any]:
        data = config.to_dict()["data"]
        return {**data, field: edit(data[field])}

    def applies(config: ViTConfig) -> bool:
        if config.data is None or getattr(config.data, field) is None:
            return False
        return bool(changes(config) != config.to_dict()["data"])

    def change(model: Model) -> Model:
        return model.with_config(data=changes(model.config))

    return Fault(
        "file",
        "preprocessing and labels",
        f"data/{name}",
        does,
        (),
        (f"data.{field}",),
        applies,
        change,
    )


def _labels(name: str, does: str, edit: Edit) -> Fault:
    return Fault(
        "file",
        "preprocessing and labels",
        f"labels/{name}",
        does,
        (),
        ("labels",),
        lambda config: config.labels is not None,
        lambda model: model.with_config(labels=edit(list(model.config.labels or ()))),
    )


def _with(index: int, value: Callable[[float], float]) -> Edit:
    return lambda values: [value(v) if i == index else v for i, v in enumerate(values)]


def _first_two(values: list[Any]) -> list[Any]:
    return [values[1], values[0], *values[2:]]


def _faults() -> Iterator[Fault]:
    one_tenth = _with(1, lambda value: value + 0.1)
    yield _data("mean", "mean off", "moves the mean of one channel by 0.1", one_tenth)
    scaled = _with(1, lambda value: value * 1.1)
    yield _data("std", "std off", "makes one deviation larger by a tenth", scaled)
    for field in ("mean", "std"):
        text = f"has the channels of {field} in reverse order"
        yield _data(field, f"{field} reversed", text, lambda values: values[::-1])
    yield _data(
        "input_range", "0 to 255", "forgets the rescaling", lambda _: [0.0, 255.0]
    )
    yield _data(
        "interpolation",
        "interpolation",
        "resizes by another filter",
        lambda name: "bilinear" if name == "bicubic" else "bicubic",
    )
    yield _data("crop_pct", "crop_pct", "crops nothing", lambda _: 1.0)
    yield _data("crop_mode", "crop_mode", "pads", lambda _: "border")
    yield _data("axes", "axes", "exchanges the first two axes", _first_two)
    yield _data("axes", "axes reversed", "reverses the axes", lambda axes: axes[::-1])
    yield _data("orientation", "orientation", "takes left for right", lambda _: "LAS")
    yield _data(
        "spacing_mm", "spacing_mm", "exchanges the first two spacings", _first_two
    )
    yield _data(
        "intensity",
        "intensity kind",
        "normalises by percentiles",
        lambda _: {"kind": "percentile", "low": 1.0, "high": 99.0},
    )
    yield _data(
        "intensity",
        "intensity low",
        "begins the window elsewhere",
        lambda old: {**old, "low": -1000.0} if old["kind"] == "window" else old,
    )
    yield _labels("exchanged", "exchanges the names of two classes", _first_two)
    yield _labels(
        "rotated", "moves all names on by one", lambda names: [*names[1:], names[0]]
    )
    yield Fault(
        "file",
        "preprocessing and labels",
        "data/dropped",
        "forgets the preprocessing",
        (),
        ("data",),
        lambda config: config.data is not None,
        lambda model: model.with_config(data=None),
    )
    yield Fault(
        "file",
        "preprocessing and labels",
        "labels/dropped",
        "forgets the names of the classes",
        (),
        ("labels",),
        lambda config: config.labels is not None,
        lambda model: model.with_config(labels=None),
    )


DATA: tuple[Fault, ...] = tuple(_faults())
"""All of them."""
