"""What would give the wrong result that one step gave.

The step was fed with what is known to be right. So it can be computed here, in float64
and by its definition, as it should be and as usual mistakes would have it: another
epsilon or activation, another scale of the scores, an axis of the input turned round, a
residual left out. The mistake that gives the very numbers, and the right step does not,
is the reason. Weights are none: those in memory are compared by their hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from converters.mapping.pipe import Array
from converters.parity.reasons.attention import heads
from converters.parity.reasons.block import act, linear, norm, residual
from converters.parity.reasons.common import Reason, Step, Tried
from converters.parity.reasons.embedding import joined, patches
from converters.parity.reasons.ends import head, pool, pre_logits
from vit_config import ViTConfig

__all__ = ["TRIED", "Reason", "explained"]

LEAST_ERROR = 1e-5
"""Of float32 results: how near a guess must come, relative to their size."""

_MUCH_BETTER = 0.25

TRIED: dict[str, Callable[[Step], Iterator[Tried]]] = {
    "patch_embed": patches,
    "pos_embed": joined,
    "norm_pre": norm,
    "norm1": norm,
    "norm2": norm,
    "norm": norm,
    "fc_norm": norm,
    "attn.qkv": linear,
    "attn.heads": heads,
    "attn.proj": linear,
    "mlp.fc1": linear,
    "mlp.act": act,
    "mlp.fc2": linear,
    "residual1": residual,
    "residual2": residual,
    "pool": pool,
    "pre_logits": pre_logits,
    "head": head,
}
"""What is tried, by the last words of a tap."""


def explained(
    tap: str,
    config: ViTConfig,
    given: Array,
    sources: Sequence[Array],
    weights: Callable[[str], Array],
    noise: float = 0.0,
) -> Reason | None:
    """The mistake that gives what a wrong step gave.

    Args:
        tap: Name of the step's result.
        config: The reference's.
        given: The wrong result.
        sources: What the step was fed with; inputs as (B, C, *spatial).
        weights: Values of a canonical tensor, in its layout.
        noise: RMS error of the reference, relative to the size of the result.

    Returns:
        None if no mistake that is tried here explains it.
    """
    name = tap.split(".", 2)[2] if tap.startswith("blocks.") else tap
    tried = TRIED.get(name)
    if tried is None:
        return None
    wanted = given.astype(np.float64)
    wide = [source.astype(np.float64) for source in sources]
    step = Step(tap, config, wide, wanted, lambda w: weights(w).astype(np.float64))
    size = _rms(wanted)
    right, found, least = np.inf, None, np.inf
    for reason, values in tried(step):
        if values.shape != wanted.shape:
            continue
        error = _rms(values - wanted)
        if reason is None:
            right = min(right, error)
        elif error < least:
            found, least = reason, error
    near = least <= max(LEAST_ERROR, 20 * noise) * size
    return found if near and least < _MUCH_BETTER * right else None


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0
