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
    return _together(
        (field,), name, does, lambda data: {**data, field: edit(data[field])}
    )


def _together(fields: tuple[str, ...], name: str, does: str, edit: Edit) -> Fault:
    """A change of fields of the preprocessing that have to fit each other.

    It can be made where the first of them is stated.
    """

    def changes(config: ViTConfig) -> dict[str, Any]:
        found: dict[str, Any] = edit(config.to_dict()["data"])
        return found

    def applies(config: ViTConfig) -> bool:
        if config.data is None or getattr(config.data, fields[0]) is None:
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
        tuple(f"data.{field}" for field in fields),
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


def _axes(edit: Edit) -> Edit:
    """Other axes, and the orientation that then is theirs."""

    def change(data: dict[str, Any]) -> dict[str, Any]:
        code = data["orientation"] and "".join(edit(list(data["orientation"])))
        return {**data, "axes": edit(data["axes"]), "orientation": code}

    return change


_OTHER_END = dict(zip("LRPAIS", "RLAPSI", strict=True))


def _flipped(axis: int) -> Edit:
    return lambda code: "".join(
        _OTHER_END[letter] if i == axis else letter for i, letter in enumerate(code)
    )


def _intensity(key: str, *kinds: str, usual: bool = False) -> Edit:
    """Turns a yes or no of these kinds round; unstated it is the usual one."""

    def change(old: dict[str, Any]) -> dict[str, Any]:
        if old["kind"] not in kinds:
            return old
        return {**old, key: not (usual if old[key] is None else old[key])}

    return change


def _other_fit(data: dict[str, Any]) -> dict[str, Any]:
    if data["fit"] == "resize":
        return {**data, "fit": "pad_or_crop", "pad_value": 0.0}
    return {**data, "fit": "resize", "pad_value": None}


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
    both = ("axes", "orientation")
    yield _together(both, "axes", "exchanges the first two axes", _axes(_first_two))
    reverse = _axes(lambda axes: axes[::-1])
    yield _together(both, "axes reversed", "reverses the axes", reverse)
    for axis in range(3):
        yield _data(
            "orientation",
            "orientation" if axis == 0 else f"orientation flipped {axis}",
            f"takes one end of axis {axis} for the other",
            _flipped(axis),
        )
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
    yield _data(
        "intensity",
        "intensity high",
        "ends the range elsewhere",
        lambda old: {**old, "high": old["high"] + 1.0} if old["high"] else old,
    )
    for key, does, edit in (
        (
            "clip",
            "cuts nothing off",
            _intensity("clip", "window", "percentile", usual=True),
        ),
        ("nonzero", "counts the zeros", _intensity("nonzero", "zscore")),
        (
            "channel_wise",
            "takes the channels apart, or together",
            _intensity("channel_wise", "percentile", "zscore"),
        ),
    ):
        yield _data("intensity", f"intensity {key}", does, edit)
    yield _data(
        "spacing_mode",
        "spacing_mode",
        "resamples files otherwise",
        lambda mode: "nearest" if mode == "bilinear" else "bilinear",
    )
    yield _together(
        ("fit", "pad_value"), "fit", "resizes, or pads and crops", _other_fit
    )
    yield _data(
        "fit_first", "fit_first", "does it in another order", lambda first: not first
    )
    yield _data(
        "pad_value", "pad_value", "pads with another value", lambda value: value + 1.0
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
