"""Applies a plan, tensor by tensor: one tensor in memory at a time.

A `Source` serves named tensors. A `Pipe` over a source and a plan is a source again,
of the plan's right side; so a whole conversion is a chain of pipes that the writer
pulls on, and the proof of the written file the same chain backwards.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from converters.mapping.table import ZERO, Plan, Step
from vit_config import ViTConfig

Array = NDArray[Any]
Digests = dict[str, tuple[str, tuple[int, ...], str]]

FLOATS = ("float32", "float16", "bfloat16")
"""Data types that both twins can hold all their weights in."""

_STRIP = 8  # rows copied at once in a transpose: what a cache line serves well
_LARGE = 1 << 14


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What is known of a tensor before its values are read.

    Attributes:
        dtype: numpy's name of the type, `"bfloat16"` for that of `ml_dtypes`.
        shape: Its shape.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of scalars."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the values; of a type that numpy lacks, at one byte each."""
        try:
            return self.size * np_dtype(self.dtype).itemsize
        except TypeError:
            return self.size


class Source(Protocol):
    """Anything that serves named tensors."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Every tensor there is, by name."""

    def read(self, name: str) -> Array:
        """The values of one tensor, C-contiguous, little-endian."""


def np_dtype(name: str) -> np.dtype[Any]:
    """The numpy type of a `TensorInfo.dtype`."""
    if name == "bfloat16":
        import ml_dtypes

        kind: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return kind
    return np.dtype(name)


class MemorySource:
    """Tensors that are in memory already.

    Args:
        arrays: The values by name.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays
        self.tensors = {
            name: TensorInfo(str(array.dtype), tuple(array.shape))
            for name, array in arrays.items()
        }

    def read(self, name: str) -> Array:
        """The values of one tensor."""
        return contiguous(self._arrays[name])


class Pipe:
    """The right side of a plan, served from a source of its left side.

    Args:
        source: Serves every tensor that goes into the plan.
        plan: What to do to them.
    """

    def __init__(self, source: Source, plan: Plan) -> None:
        self._source = source
        self._steps = {
            name: step for step in plan.steps for name in step.targets if name != ZERO
        }
        self._parts: dict[str, Array] = {}
        self.tensors = {
            name: TensorInfo(_dtype(source, step), shape)
            for step in plan.steps
            for name, shape in zip(step.targets, step.target_shapes, strict=True)
            if name != ZERO
        }

    def read(self, name: str) -> Array:
        """The values of one tensor, after its step."""
        if name in self._parts:
            return self._parts.pop(name)
        step = self._steps[name]
        arrays = apply(step, [self._part(source, step) for source in step.sources])
        made = dict(zip(step.targets, arrays, strict=True))
        array = made.pop(name)
        self._parts = made  # siblings of a split, wanted next
        return array

    def _part(self, name: str, step: Step) -> Array:
        if name != ZERO:
            return self._source.read(name)
        return np.zeros(step.source_shape, np_dtype(_dtype(self._source, step)))


def _dtype(source: Source, step: Step) -> str:
    return source.tensors[next(name for name in step.sources if name != ZERO)].dtype


class Cast:
    """A source in another data type. A one-way step, asked for by name.

    Args:
        source: The tensors.
        dtype: Their new type.
        watch: Called with each tensor's name and its values before and after.
    """

    def __init__(
        self,
        source: Source,
        dtype: str,
        watch: Callable[[str, Array, Array], None] | None = None,
    ) -> None:
        self._source = source
        self._dtype = dtype
        self._watch = watch
        self.tensors = {
            name: TensorInfo(dtype, info.shape) for name, info in source.tensors.items()
        }

    def read(self, name: str) -> Array:
        """The values of one tensor, rounded to the type."""
        array = self._source.read(name)
        rounded = cast(array, self._dtype)
        if self._watch is not None:
            self._watch(name, array, rounded)
        return rounded


class Watched:
    """A source that tells how far the reading is.

    Args:
        source: The tensors.
        tick: Called with the bytes of each tensor that was read.
    """

    def __init__(self, source: Source, tick: Callable[[int], None]) -> None:
        self._source = source
        self._tick = tick
        self.tensors = source.tensors

    def read(self, name: str) -> Array:
        """The values of one tensor."""
        array = self._source.read(name)
        self._tick(array.nbytes)
        return array


def cast(array: Array, dtype: str) -> Array:
    """The values rounded to another type; what is too large becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np_dtype(dtype), copy=False)


def apply(step: Step, arrays: list[Array]) -> list[Array]:
    """Carries out one step.

    Args:
        step: What to do.
        arrays: One array per source of the step.

    Returns:
        One C-contiguous array per target.
    """
    if step.identity:
        return [contiguous(array) for array in arrays]
    if step.joins:
        return _joined(step, arrays)
    dtype = arrays[0].dtype
    raw = [_as_bits(array) for array in arrays]
    pattern, used = _simplified(step.pattern)
    sizes = {axis: length for axis, length in step.sizes if axis in used}
    moved = rearrange(raw[0] if len(raw) == 1 else raw, pattern, **sizes)
    parts = list(moved) if len(step.targets) > 1 else [moved]
    return [contiguous(part).view(dtype) for part in parts]


def _joined(step: Step, arrays: list[Array]) -> list[Array]:
    """Parts of unequal size made one along the first axis, or one taken apart."""
    if len(step.targets) == 1:
        return [np.concatenate(arrays)]
    ends = np.cumsum([shape[0] for shape in step.target_shapes])[:-1]
    return [contiguous(part) for part in np.split(arrays[0], ends)]


def contiguous(array: Array) -> Array:
    """The same values in C order; strided views are copied, large ones in strips.

    A writer must never see a view: `safetensors.numpy.save_file` takes the memory of
    a transposed one as it lies, and the file is wrong without any error.
    """
    if array.flags.c_contiguous:
        return array
    if array.ndim != 2 or array.size < _LARGE or array.dtype.kind not in "fu":
        return np.ascontiguousarray(array)
    out: Array = np.empty(array.shape, array.dtype)
    for start in range(0, array.shape[1], _STRIP):
        out[:, start : start + _STRIP] = array[:, start : start + _STRIP]
    return out


def _as_bits(array: Array) -> Array:
    """Unsigned integers of the same width: moving them is exact and fast."""
    return array.view(f"u{array.dtype.itemsize}")


@lru_cache(maxsize=256)
def _simplified(pattern: str) -> tuple[str, frozenset[str]]:
    """Takes a group that stands on both sides as one axis; and the axes left.

    `"(s h e) d -> d (s h e)"` is a plain transpose then, which einops does as a view.
    """
    left, right = (side.strip() for side in pattern.split("->"))
    start = left.find("(")
    while start >= 0:
        group = left[start : left.index(")", start) + 1]
        if group in right and "..." not in group:
            axis = "_".join(group.strip("()").split())
            left, right = left.replace(group, axis), right.replace(group, axis)
        start = left.find("(", start + 1)
    axes = left.replace("(", " ").replace(")", " ").split()
    return f"{left} -> {right}", frozenset(axes)


def sha256(array: Array) -> str:
    """SHA-256 of an array's little-endian bytes in C order, in hexadecimal."""
    array = np.ascontiguousarray(array)
    data = array.reshape(-1).view(np.uint8).data if array.size else b""
    return hashlib.sha256(data).hexdigest()


def fingerprint(digests: Digests) -> str:
    """One hash for all weights, whatever file they are in.

    SHA-256 over the canonical JSON of `[name, dtype, shape, SHA-256 of the bytes]`
    of every canonical tensor, sorted by name.
    """
    rows = [
        [name, dtype, list(shape), sha] for name, (dtype, shape, sha) in digests.items()
    ]
    text = json.dumps(sorted(rows), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def model_fingerprint(weights: str, config: ViTConfig) -> str:
    """One hash for a model: its weights and its architecture.

    The same weights with another number of heads are another model. SHA-256 over the
    canonical JSON of `[weights, architecture]`.

    Args:
        weights: `fingerprint` of the weights.
        config: Of the model; its `architecture_hash` counts.
    """
    text = json.dumps([weights, config.architecture_hash()], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def count_nonfinite(array: Array) -> tuple[int, int]:
    """How many NaN and how many infinities there are."""
    if array.dtype == np.float32 and np.isfinite(_sum(array)):
        return 0, 0  # either would have reached the sum
    nan = int(np.count_nonzero(np.isnan(array)))
    return nan, int(np.count_nonzero(np.isinf(array)))


def _sum(array: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(array.sum())


def key_bias_of(name: str, config: ViTConfig) -> bool:
    """Whether the middle third of this canonical tensor must be zero."""
    return config.qkv_bias == "qv" and name.endswith(".attn.qkv.bias")
