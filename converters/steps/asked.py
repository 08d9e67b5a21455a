"""Which steps a caller asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.engine import FLOATS
from converters.report import printable, refusal

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
        if self.dtype is not None and self.dtype not in FLOATS:
            text = f"dtype {self.dtype!r}; known are {', '.join(FLOATS)}"
            raise refusal(text, kind="dtype")
        outputs, kinds = ("logits", "pooled", "tokens"), ("mean", "center")
        if self.output not in (None, *outputs):
            _choice("--output", self.output, outputs)
        if self.inflate not in (None, *kinds):
            _choice("--inflate", self.inflate, kinds)
        if self.inflate_axis not in (None, 0, 1, 2):
            _choice("--inflate-axis", self.inflate_axis, ("0", "1", "2"))
        for name in ("num_classes", "seed"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise _wrong(name, value, "0 or more")
        for name in ("in_chans", "depth", "patch_depth"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise _wrong(name, value, "1 or more")
            alone = name != "in_chans" and self.inflate is None and value is not None
            if alone or (self.inflate_axis is not None and self.inflate is None):
                option = name.replace("_", "-") if alone else "inflate-axis"
                raise refusal(f"--{option} belongs to --inflate", kind="config")
        if self.inflate is not None and self.depth is None:
            raise refusal(
                "--inflate needs --depth, the size of the new axis", kind="config"
            )


def _choice(option: str, found: object, known: Sequence[str]) -> None:
    text = f"{option} {printable(found)}; known are {', '.join(known)}"
    raise refusal(text, kind="config")


def _wrong(name: str, value: object, right: str) -> Exception:
    option = name.replace("_", "-")
    return refusal(f"--{option} {value}; {right} would be right", kind="config")


def parse_size(size: Size, option: str, dims: int) -> tuple[int, ...]:
    """Reads a size and repeats a single number over the axes.

    Raises:
        ConversionError: If it is no size, or has another number of axes.
    """
    numbers: list[int | str]
    if isinstance(size, str):
        numbers = [*size.lower().split("x")]
    else:
        numbers = [size] if isinstance(size, int) else [*size]
    shown = printable(size if isinstance(size, str) else numbers)
    try:
        lengths = tuple(int(number) for number in numbers)
    except (TypeError, ValueError):
        lengths = ()
    if not lengths or min(lengths) < 1:
        example = "x".join(["224"] * dims)
        text = f"--{option} {shown}; expected a size like 224 or {example}"
        raise refusal(text, kind="config")
    if len(lengths) == 1:
        lengths *= dims
    if len(lengths) != dims:
        raise refusal(
            f"--{option} {shown} has {len(lengths)} axes; the model has {dims}",
            kind="config",
        )
    return lengths
