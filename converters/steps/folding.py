"""Folds: the same function with fewer, or more, tensors, for names that need it.

Taken only where a target (`--to`) has no place for the model as it is, as few as will
do, and always named. Exact ones are taken by themselves:

- `fold_cls_pos`: the position rows of prefix tokens are added to the tokens, as the
  model does before its first block (timm does so for DINOv2 with registers). The sum
  is rounded to the file's type: in half precision not what a float32 model computes.
  The report says how far; a cast to float32 (`--dtype`) comes first and avoids it;
- `zero_cls_pos`: prefix tokens without positions get rows of zeros;
- `zero_bias:FIELD`: a layer without a bias gets one of zeros;
- `full_qkv_bias`: keys without a bias get one of zeros.

Exact up to rounding, and only if allowed (`--fold`):

- `fold_layer_scale`: the layers before it are multiplied by gamma.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from converters.errors import ConversionError
from converters.mapping.pipe import Array, Source
from converters.steps.stage import Make, Stage
from converters.wording import options
from vit_config import ViTConfig
from vit_config.weights import weight_table

if TYPE_CHECKING:
    from converters.libraries.variant import Variant

Fold = Callable[[ViTConfig], Stage | None]

POSITIONS = "pos_embed"
BIASES = ("qkv_bias", "patch_bias", "proj_bias", "mlp_bias", "head_bias")


def fitted(
    spec: str, config: ViTConfig, inexact: bool, in_files: bool = False
) -> tuple[Variant, tuple[Stage, ...]]:
    """The variant that a model is written in, and the folds that this takes.

    Args:
        spec: Dialect or variant, `"monai@1.3"`.
        config: The model.
        inexact: Whether folds that are exact up to rounding only may be taken.
        in_files: Leave out what only models in memory are named like.

    Raises:
        ConversionError: If no variant can hold the model, folded or not.
    """
    from converters.libraries.writing import target_variant

    try:
        return target_variant(spec, config, in_files), ()
    except ConversionError as error:
        if not error.dialect:  # there is no such dialect
            raise
        refused = error
    found = _search(spec, config, EXACT, in_files)
    if found is not None:
        return found
    found = _search(spec, config, (*EXACT, fold_layer_scale), in_files)
    if found is not None and inexact:
        return found
    hint = f"{refused.dialect} cannot hold this model, folded or not."
    if found is not None:
        names = ", ".join(stage.text for stage in found[1])
        fold = options(fold=True)
        hint = f"{fold} would make it fit: {names} (exact up to rounding only)."
    raise ConversionError(refused.issues, dialect=refused.dialect, hint=hint)


def _search(
    spec: str, config: ViTConfig, folds: tuple[Fold, ...], in_files: bool
) -> tuple[Variant, tuple[Stage, ...]] | None:
    """As few folds as will do."""
    from converters.libraries.writing import target_variant

    useful = [fold for fold in folds if fold(config) is not None]
    for count in range(1, len(useful) + 1):
        for chosen in combinations(useful, count):
            stages = tuple(_applied(config, chosen))
            if len(stages) < count:
                continue
            try:
                return target_variant(spec, stages[-1].config, in_files), stages
            except ConversionError:
                continue
    return None


def _applied(config: ViTConfig, folds: tuple[Fold, ...]) -> Iterator[Stage]:
    for fold in folds:
        stage = fold(config)
        if stage is not None:
            config = stage.config
            yield stage


def fold_cls_pos(config: ViTConfig) -> Stage | None:
    """Adds the position rows of prefix tokens to the tokens."""
    rows = config.num_pos_tokens - config.num_patches
    if config.pos_embed == "none" or not rows:
        return None

    def token(name: str, start: int, count: int) -> Make:
        def run(source: Source) -> Array:
            values, table = source.read(name), source.read(POSITIONS)
            # As a float32 model adds them; half precision is rounded, and measured.
            wide = np.result_type(values.dtype, np.float32)
            rows = table[:, start : start + count].astype(wide)
            summed: Array = values.astype(wide) + rows
            return summed

        return run

    makes: dict[str, Make] = {
        POSITIONS: lambda source: source.read(POSITIONS)[:, rows:],
    }
    start = 0
    for name, count in (
        ("cls_token", int(config.class_token)),
        ("dist_token", int(config.dist_token)),
        ("reg_token", config.reg_tokens),
    ):
        if count and start < rows:
            makes[name] = token(name, start, count)
            start += count
    return Stage(
        text="fold_cls_pos",
        config=config.replace(pos_embed_tokens="patch"),
        makes=makes,
        notes=(f"{rows} position rows added to their tokens",),
        measured=True,
    )


def zero_cls_pos(config: ViTConfig) -> Stage | None:
    """Gives every prefix token a position of zeros."""
    return _zero_rows(config, "all")


def zero_first_pos(config: ViTConfig) -> Stage | None:
    """Gives the class token alone one, where there are others."""
    return _zero_rows(config, "cls") if config.num_prefix_tokens > 1 else None


def _zero_rows(config: ViTConfig, tokens: str) -> Stage | None:
    without = config.pos_embed == "none" or config.num_pos_tokens > config.num_patches
    if without or not config.class_token:
        return None
    after = config.replace(pos_embed_tokens=tokens)
    rows = after.num_pos_tokens - config.num_patches

    def make(source: Source) -> Array:
        return np.pad(source.read(POSITIONS), ((0, 0), (rows, 0), (0, 0)))

    note = f"{rows} position rows of zeros for prefix tokens"
    return Stage("zero_cls_pos", after, {POSITIONS: make}, notes=(note,))


def _zero_bias(field: str) -> Fold:
    def fold(config: ViTConfig) -> Stage | None:
        found = getattr(config, field)
        if found is True or (field == "head_bias" and not config.num_classes):
            return None
        after = config.replace(**{field: True})
        if found == "qv":  # stored with zeros already
            note = "the biases of keys are zeros"
            return Stage("full_qkv_bias", after, notes=(note,))
        before = {weight.name for weight in weight_table(config)}
        shapes = {w.name: w.shape for w in weight_table(after) if w.name not in before}

        def zeros(shape: tuple[int, ...]) -> Make:
            return lambda source: np.zeros(shape, np.float32)

        return Stage(
            text=f"zero_bias:{field}",
            config=after,
            makes={name: zeros(shape) for name, shape in shapes.items()},
            notes=(f"{len(shapes)} biases of zeros",),
        )

    return fold


def fold_layer_scale(config: ViTConfig) -> Stage | None:
    """Multiplies the last layer of attention and MLP by gamma, weights and bias."""
    if config.init_values is None:
        return None

    def product(name: str, scale: str) -> Make:
        def run(source: Source) -> Array:
            values = source.read(name).astype(np.float64)
            gamma = source.read(scale).astype(np.float64)
            scaled: Array = values * gamma.reshape(-1, *(1,) * (values.ndim - 1))
            return scaled

        return run

    after = config.replace(init_values=None)
    there = {weight.name for weight in weight_table(after)}
    folded = {weight.name for weight in weight_table(config)} - there
    makes = {}
    for i in range(config.depth):
        for layer, scale in (("attn.proj", "ls1"), ("mlp.fc2", "ls2")):
            for leaf in ("weight", "bias"):
                name = f"blocks.{i}.{layer}.{leaf}"
                if name in there:
                    makes[name] = product(name, f"blocks.{i}.{scale}.gamma")
    return Stage(
        text="fold_layer_scale",
        config=after,
        makes=makes,
        folded=frozenset(folded),
        notes=(f"{len(folded)} layer scales multiplied into the layers before them",),
        measured=True,
    )


EXACT: tuple[Fold, ...] = (
    fold_cls_pos,
    zero_cls_pos,
    zero_first_pos,
    *(_zero_bias(field) for field in BIASES),
)
"""Folds after which the model computes the same numbers."""
