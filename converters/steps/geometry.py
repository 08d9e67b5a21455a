"""Another patch size, another image size: the kernel and the position table.

A table is resampled by the rule of the library that the weights come from
(`config.pos_resize`), straight from the old grid to the final one; if both sizes change
so that the grid stays, it stays as well. That goes for fixed sine-cosine tables, too:
the libraries resample the table that their file holds, and so does this; no formula is
computed anew.
"""

from __future__ import annotations

from converters.errors import refusal
from converters.mapping.pipe import Array, Source
from converters.steps.asked import Size, parse_size
from converters.steps.channels import KERNEL
from converters.steps.resample import resample_positions, resize_kernel
from converters.steps.stage import Stage, size_text
from converters.wording import option
from vit_config import ConfigError, ViTConfig

POSITIONS = "pos_embed"


def geometry(config: ViTConfig, patch: Size | None, image: Size | None) -> list[Stage]:
    """Plans both steps; none where nothing changes.

    Without `image` the image size stays, so that another patch makes another grid.

    Raises:
        ConversionError: If the patch does not divide the image, or if the patch is
            normalised before the projection and so cannot be resized.
    """
    dims = config.spatial_dims
    patches = (
        config.patch_size if patch is None else parse_size(patch, "patch_size", dims)
    )
    images = config.img_size if image is None else parse_size(image, "image_size", dims)
    try:
        after = config.replace(patch_size=patches, img_size=images)
    except ConfigError as error:
        lines = [line for line in error.problems if line.startswith("img_size: ")]
        hint = "" if image is not None else f"Give {option('image_size')}, too."
        text = "; ".join(lines).replace("img_size: ", "") or str(error)
        raise refusal(f"the image size {text}", hint=hint, kind="config") from None
    stages = []
    if patches != config.patch_size:
        stages.append(_patch_size(config, patches))
    if after.grid_size != config.grid_size or images != config.img_size:
        stages.append(_positions(config, after, image is not None))
    return stages


def patch_rule(config: ViTConfig) -> str:
    """How patches are resized: timm resizes them as it resamples positions."""
    return "bilinear" if config.pos_resize == "bilinear" else "bicubic_aa"


def _patch_size(config: ViTConfig, patch: tuple[int, ...]) -> Stage:
    """The kernel alone; the image grows with the patch until the next step."""
    if config.patch_norm == "dual":
        raise refusal(
            f"{option('patch_size')}: the patch is normalised pixel by pixel before "
            "the projection, and such a norm cannot be resized",
            kind="config",
        )
    rule = patch_rule(config)
    image = [n * p for n, p in zip(config.grid_size, patch, strict=True)]

    def make(source: Source) -> Array:
        return resize_kernel(source.read(KERNEL), patch, rule)

    old = size_text(config.patch_size)
    return Stage(
        text=f"patch_size:{old}->{size_text(patch)}:{rule}",
        config=config.replace(patch_size=patch, img_size=image),
        makes={KERNEL: make},
    )


def _positions(config: ViTConfig, after: ViTConfig, named: bool) -> Stage:
    old, new, rule = config.grid_size, after.grid_size, config.pos_resize_rule
    if named:
        sizes = f"{size_text(config.img_size)}->{size_text(after.img_size)}"
        text = f"image_size:{sizes}"
    else:
        text = f"pos_embed:{size_text(old)}->{size_text(new)}"
    if config.pos_embed == "none":
        return Stage(f"{text}:no_table", after)
    if old == new:
        return Stage(f"{text}:same_grid", after)

    def make(source: Source) -> Array:
        return resample_positions(source.read(POSITIONS), old, new, rule)

    grids = f"{size_text(old)} to {size_text(new)}"
    kind = "fixed sine-cosine table" if config.pos_embed == "sincos" else "positions"
    notes = [f"{kind} resampled from {grids} patches by {rule}"]
    if config.pos_resize is None:
        notes.append(f"the source does not say its rule; {rule} is the default")
    return Stage(f"{text}:{rule}", after, {POSITIONS: make}, notes=tuple(notes))
