"""Another number of input channels, as timm 1.0.31 does it (`adapt_input_conv`).

One channel gets the sum over the old ones: a grey image gives what it gave as three
equal channels. More channels repeat the old ones, cut off where there are enough, and
are scaled by `old / new`, so that equal channels give the same sum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from converters.mapping.pipe import Array, Source
from converters.steps.stage import Make, Stage
from converters.wording import options
from vit_config import ViTConfig

KERNEL = "patch_embed.proj.weight"
BIAS = "patch_embed.proj.bias"
SCALE = "patch_embed.norm_pre.weight"
OFFSET = "patch_embed.norm_pre.bias"


def in_chans(config: ViTConfig, chans: int) -> Stage | None:
    """Plans the step; none if the number stays.

    With `patch_norm="dual"` the norm before the projection has a scale and an offset
    for every channel. For one channel they are summed into the projection and its
    bias; otherwise they are repeated as the kernel is, unscaled.

    Raises:
        ConversionError: If such an offset has no bias to go to.
    """
    old = config.in_chans
    if chans == old:
        return None
    notes: tuple[str, ...] = ()
    changes: dict[str, Any] = {"in_chans": chans}
    if config.data is not None:
        found = config.data
        for field in ("mean", "std"):
            values = getattr(found, field)
            if values is None:
                continue
            equal = len(set(values)) == 1
            values = (values[0],) * chans if equal else None
            found = found.model_copy(update={field: values})
            if not equal:
                notes += (f"data.{field} was one of {old} channels and is left out",)
        changes["data"] = found.model_dump(mode="json")
    makes: dict[str, Make]
    if config.patch_norm != "dual":
        makes = {KERNEL: lambda source: adapt(source.read(KERNEL), chans)}
    elif chans > 1:
        makes = _repeated(config, chans)
    else:
        makes = _summed(config)
    how = "sum" if chans == 1 else "repeat"
    after = config.replace(**changes)
    return Stage(f"in_chans:{old}->{chans}:{how}", after, makes, notes=notes)


def adapt(kernel: Array, chans: int) -> Array:
    """A kernel (width, old, ...) for so many channels, in float32 as in timm."""
    old = kernel.shape[1]
    kernel = kernel.astype(np.result_type(kernel.dtype, np.float32), copy=False)
    if chans == 1:
        total = kernel[:, :1].copy()
        for channel in range(1, old):
            total += kernel[:, channel : channel + 1]
        return total
    times = math.ceil(chans / old)
    repeated = np.concatenate([kernel] * times, axis=1)[:, :chans]
    made: Array = repeated * repeated.dtype.type(old / chans)
    return made


def _split(array: Array, config: ViTConfig) -> Array:
    """(..., pixels * channels) -> (..., pixels, channels), float64."""
    pixels = math.prod(config.patch_size)
    return array.astype(np.float64).reshape(*array.shape[:-1], pixels, config.in_chans)


def _repeated(config: ViTConfig, chans: int) -> dict[str, Make]:
    old = config.in_chans
    times = math.ceil(chans / old)

    def make(name: str, factor: float) -> Make:
        def run(source: Source) -> Array:
            parts = _split(source.read(name), config)
            wide = np.concatenate([parts] * times, axis=-1)[..., :chans] * factor
            return wide.reshape(*wide.shape[:-2], -1)

        return run

    return {
        KERNEL: make(KERNEL, old / chans),
        SCALE: make(SCALE, 1.0),
        OFFSET: make(OFFSET, 1.0),
    }


def _summed(config: ViTConfig) -> dict[str, Make]:
    """The norm of a grey patch is that of its three copies; the rest is linear."""
    from converters.errors import refusal

    if not config.patch_bias:
        raise refusal(
            f"{options(in_chans=1)}: the norm before the patch projection has an "
            "offset, and the projection no bias to take it",
            kind="config",
        )

    def kernel(source: Source) -> Array:
        scaled = source.read(KERNEL).astype(np.float64) * source.read(SCALE)
        total: Array = _split(scaled, config).sum(axis=-1)
        return total

    def bias(source: Source) -> Array:
        moved: Array = source.read(KERNEL).astype(np.float64) @ source.read(OFFSET)
        return moved + source.read(BIAS)

    pixels = math.prod(config.patch_size)
    return {
        KERNEL: kernel,
        BIAS: bias,
        SCALE: lambda source: np.ones(pixels),
        OFFSET: lambda source: np.zeros(pixels),
    }
