"""Which steps a caller asks for."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

from converters.arguments import check_flag, size_numbers, wrong
from converters.errors import printable, refusal
from converters.mapping.pipe import FLOATS
from converters.wording import Blank, option, options

Size = int | str | Sequence[int]
"""`224`, `"224x256"`, `(32, 224, 224)`; one number is taken for every axis."""


@dataclass(frozen=True)
class Steps:
    """What is asked for; the default is nothing.

    Attributes:
        output: What the model shall return: `"logits"`, `"pooled"` or `"tokens"`.
        num_classes: Another head of so many classes; 0 drops it.
        in_chans: Number of input channels.
        inflate: How an image kernel becomes one for volumes.
        depth: Size of the input along the new axis.
        patch_depth: Size of a patch along it; that of a square patch if None.
        inflate_axis: Where the new axis stands among the three: 0 is first (frames, as
            in V-JEPA and VideoMAE), 2 is last (slices, as in MONAI).
        patch_size: Size of a patch.
        image_size: Size of the input.
        fold: Whether an export may fold what does not fold bit by bit.
        dtype: Type of all weights.
        allow_missing: Patterns of names that the source may lack.
        seed: What new tensors are drawn from.
    """

    output: str | None = None
    num_classes: int | None = None
    in_chans: int | None = None
    inflate: str | None = None
    depth: int | None = None
    patch_depth: int | None = None
    inflate_axis: int | None = None
    patch_size: Size | None = None
    image_size: Size | None = None
    fold: bool = False
    dtype: str | None = None
    allow_missing: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        self._choices("dtype", FLOATS)
        self._choices("output", ("logits", "pooled", "tokens"))
        self._choices("inflate", ("mean", "center"))
        self._choices("inflate_axis", (0, 1, 2))
        lowest = {"num_classes": 0, "seed": 0, "in_chans": 1, "depth": 1}
        for name, low in {**lowest, "patch_depth": 1}.items():
            value = getattr(self, name)
            if value is None and name != "seed":
                continue
            try:
                number = None if isinstance(value, bool) else operator.index(value)
            except TypeError:
                number = None
            if number is None:
                raise wrong(name, value, "an integer")
            if number < low:
                right = f"{low} or more would be right"
                raise refusal(f"{options(**{name: number})}; {right}", kind="config")
            object.__setattr__(self, name, number)  # numpy has integers of its own
        check_flag("fold", self.fold)
        if self.inflate is None:
            for name in ("depth", "patch_depth", "inflate_axis"):
                if getattr(self, name) is not None:
                    text = f"{option(name)} belongs to {option('inflate')}"
                    raise refusal(text, kind="config")
        elif self.depth is None:
            text = (
                f"{option('inflate')} needs {option('depth')}, the size of the new axis"
            )
            raise refusal(text, kind="config")

    def _choices(self, name: str, known: Sequence[object]) -> None:
        found = getattr(self, name)
        if found is not None and found not in known:
            words = ", ".join(map(str, known))
            text = f"{options(**{name: printable(found)})}; known are {words}"
            raise refusal(text, kind="config")


def parse_size(size: Size, name: str, dims: int) -> tuple[int, ...]:
    """Reads a size and repeats a single number over the axes.

    Raises:
        ConversionError: If it is no size, or has another number of axes.
    """
    numbers: list[int | str]
    if isinstance(size, str):
        numbers = [*size_numbers(size)]
    else:
        numbers = [*size] if isinstance(size, Sequence) else [size]
    shown = printable(size if isinstance(size, str) else numbers)
    given = options(**{name: Blank(shown)})
    try:
        if any(isinstance(n, bool) for n in numbers):
            raise TypeError
        lengths = tuple(
            int(n) if isinstance(n, str) else operator.index(n) for n in numbers
        )
    except (TypeError, ValueError):
        lengths = ()
    if not lengths or min(lengths) < 1:
        example = "x".join(["224"] * dims)
        text = f"{given}; expected a size like 224 or {example}"
        raise refusal(text, kind="config")
    if len(lengths) == 1:
        lengths *= dims
    if len(lengths) != dims:
        raise refusal(
            f"{given} has {len(lengths)} axes; the model has {dims}",
            kind="config",
        )
    return lengths
