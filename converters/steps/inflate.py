"""An image model becomes one for volumes or clips.

The kernel of a patch of depth T is the image kernel W:

- `"mean"`: W / T in every slice (I3D, arXiv 1705.07750). A volume whose slices are all
  the same gives the patch tokens that the image gave.
- `"center"`: W in slice T // 2, zero in the others (ViViT, arXiv 2103.15691). A volume
  gives the patch tokens that its central slice, or that of each patch, gave.

Positions are repeated along the new axis; rows of prefix tokens stay. So the tokens
before the first block are those of the image model, once for every patch along the new
axis. The output is equal, too, if there is one such patch, or if there are no prefix
tokens (attention over equal tokens is the same however often they stand there; a class
token stands there only once).
"""

from __future__ import annotations

import numpy as np

from converters.errors import refusal
from converters.mapping.pipe import Array, Source
from converters.steps.channels import KERNEL, OFFSET, SCALE
from converters.steps.stage import Make, Stage
from converters.wording import Blank, option, options
from vit_config import ViTConfig

POSITIONS = "pos_embed"


def inflate(
    config: ViTConfig, kind: str, depth: int, patch: int | None, axis: int
) -> Stage:
    """Plans the step.

    Args:
        config: An image model.
        kind: `"mean"` or `"center"`.
        depth: Size of the input along the new axis.
        patch: Size of a patch along it; that of the (square) image patch if None.
        axis: Where the new axis stands among the three.

    Raises:
        ConversionError: If the model is for volumes already, or no patch depth follows.
    """
    if config.spatial_dims != 2:
        text = f"{option('inflate')}: the model is 3D already"
        raise refusal(text, kind="config")
    square = len(set(config.patch_size)) == 1
    patch = patch or (config.patch_size[0] if square else 0)
    if not patch or depth % patch:
        why = f"does not divide {options(depth=depth)}" if patch else "is not square"
        sides = "x".join(map(str, config.patch_size))
        raise refusal(
            f"{option('inflate')}: the patch ({patch or sides}) {why}",
            hint=f"Say how deep a patch is: {options(patch_depth=Blank('N'))}, a "
            f"divisor of {option('depth')}.",
            kind="config",
        )
    dual = config.patch_norm == "dual"
    if dual and kind == "center":
        raise refusal(
            f"{options(inflate='center')}: the patch is normalised over all its slices "
            "before the projection, so the central one alone decides nothing; use mean",
            kind="config",
        )

    def sized(size: tuple[int, ...], length: int) -> list[int]:
        return [*size[:axis], length, *size[axis:]]

    after = config.replace(
        spatial_dims=3,
        img_size=sized(config.img_size, depth),
        patch_size=sized(config.patch_size, patch),
    )
    makes: dict[str, Make] = {KERNEL: _kernel(config, kind, patch, axis)}
    if dual:
        for name in (SCALE, OFFSET):
            makes[name] = _kernel(config, "repeat", patch, axis, name)
    if config.pos_embed != "none":
        makes[POSITIONS] = _positions(config, depth // patch, axis)
    text = f"inflate:{kind}:axis={axis}:depth={depth}:patch_depth={patch}"
    return Stage(text, after, makes)


def _kernel(
    config: ViTConfig, kind: str, patch: int, axis: int, name: str = KERNEL
) -> Make:
    dual = config.patch_norm == "dual"

    def run(source: Source) -> Array:
        kernel = source.read(name).astype(np.float64)
        first = 2
        if dual:  # flattened, channels last
            kernel = kernel.reshape(
                *kernel.shape[:-1], *config.patch_size, config.in_chans
            )
            first = kernel.ndim - 3
        lead = np.expand_dims(kernel, first + axis)
        if kind == "center":
            made = np.zeros(
                (*lead.shape[: first + axis], patch, *kernel.shape[first + axis :])
            )
            made[(slice(None),) * (first + axis) + (patch // 2,)] = kernel
        else:
            made = np.repeat(lead, patch, axis=first + axis)
            made = made / patch if kind == "mean" else made
        return made.reshape(*made.shape[:first], -1) if dual else made

    return run


def _positions(config: ViTConfig, times: int, axis: int) -> Make:
    prefix = config.num_pos_tokens - config.num_patches

    def run(source: Source) -> Array:
        table = source.read(POSITIONS)
        grid = table[0, prefix:].reshape(*config.grid_size, -1)
        tiled = np.repeat(np.expand_dims(grid, axis), times, axis=axis)
        rows = [table[0, :prefix], tiled.reshape(-1, table.shape[-1])]
        return np.concatenate(rows)[None]

    return run
