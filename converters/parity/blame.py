"""Which weight or config field most likely explains where a difference begins.

A step that is wrong when fed with the right input is wrong by itself. If one of its
weights in memory is not the file's, that is the cause; if the configs differ in what
decides this step, that; else what it gave is compared with what usual mistakes give
(`converters.parity.reasons`). Only then all is named that the config says of it.

A step that is right by itself and wrong in the whole model is fed with something else
there: with what dropout left, or with the result of another step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from converters.parity.reasons import Reason
from converters.parity.record import Divergence
from converters.workers.parts import Part, parts
from vit_config import ViTConfig
from vit_config.weights import weight_table

DROPOUT = {
    "norm_pre": ("pos_drop_rate",),
    "norm1": ("pos_drop_rate",),
    "attn.heads": ("attn_drop_rate",),
    "residual1": ("proj_drop_rate", "drop_path_rate"),
    "mlp.fc2": ("proj_drop_rate",),
    "residual2": ("proj_drop_rate", "drop_path_rate"),
    "head": ("drop_rate",),
}
"""Rates of what stands before a step, or in it, in training only; by its last words."""


def part_of(tap: str, config: ViTConfig) -> Part:
    """The step that gives a tap."""
    return next(part for part in parts(config) if part.name == tap)


def step_of(tap: str) -> str:
    """The last words of a tap: `"mlp.act"` of `"blocks.3.mlp.act"`."""
    return tap.split(".", 2)[2] if tap.startswith("blocks.") else tap


def weights_of(part: Part, config: ViTConfig) -> tuple[str, ...]:
    """Canonical names of the weights that one step uses."""
    return tuple(w.name for w in weight_table(config) if part.uses(w.name))


def blame(
    *,
    subject: str,
    tap: str,
    forced: bool,
    index: tuple[int, ...],
    config: ViTConfig,
    wrong: Iterable[str] | None,
    differing: Collection[str] = (),
    reason: Reason | None = None,
) -> Divergence:
    """What most likely explains the first step that is wrong.

    Args:
        subject: Which model.
        tap: Name of that step's result.
        forced: Whether the step was fed with the right input.
        index: Place of its largest error.
        config: The reference's.
        wrong: Weights in memory that are not those of the reference; None if they
            could not be compared.
        differing: Fields in which the configs differ.
        reason: The mistake that gives this very result.
    """
    part = part_of(tap, config)
    own = weights_of(part, config)
    guilty = tuple(name for name in own if name in (wrong or ()))
    rates = tuple(r for r in DROPOUT.get(step_of(tap), ()) if getattr(config, r))
    differ = tuple(field for field in part.fields if field in differing)
    tensors: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    if guilty:
        tensors = guilty
        words = f"Not the reference's in memory: {_listed(guilty)}"
    elif reason is not None and (not differ or set(reason.fields) & set(differ)):
        tensors, fields = reason.tensors, reason.fields
        words = f"It is what {reason.words} would give"
        if named := _listed(tensors + fields):
            words += f" ({named})"
    elif differ:
        fields = differ
        words = f"Of this step B's config says another thing: {_listed(differ)}"
    elif not forced and rates:
        fields = rates
        words = f"Right by itself: is dropout on? {_listed(rates)}"
    else:
        tensors = own if wrong is None else ()
        fields = part.fields
        how = "even if fed with the right input" if forced else "in the whole model"
        words = f"Wrong {how}"
        if named := _listed(fields + tensors):
            words += f"; it depends on {named}"
    return Divergence(
        subject=subject,
        tap=tap,
        index=index,
        tensors=tensors,
        fields=tuple(dict.fromkeys(fields)),
        explanation=words,
    )


def _listed(names: Iterable[str]) -> str:
    found = list(dict.fromkeys(names))
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return ", ".join(found[:4]) + more
