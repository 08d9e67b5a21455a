"""The checks that people usually make after a conversion, to stand beside ours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from converters.judging.statistics import largest_kl, top_agreement
from converters.mapping.pipe import Array

LARGEST_KL = 1e-3
"""Nats; of no input may the divergence of the softmax be larger."""

RTOL = 1e-5
"""What `torch.allclose` allows besides, by default."""


def atol(limit: float) -> Callable[[Array, Array], bool]:
    """`allclose` of all outputs, as the conversion scripts of transformers have it."""
    return lambda reference, given: bool(
        np.allclose(given, reference, rtol=RTOL, atol=limit)
    )


COMMON: dict[str, Callable[[Array, Array], bool]] = {
    "atol 1e-3": atol(1e-3),
    "atol 1e-4": atol(1e-4),
    "KL": lambda reference, given: largest_kl(reference, given) <= LARGEST_KL,
    "top-1": lambda reference, given: top_agreement(reference, given, 1) == 1,
}
"""Whether (reference, given), the outputs on seeded noise, pass for the same."""

OF_LOGITS = ("KL", "top-1")


def passed(reference: Array, given: Array, logits: bool) -> dict[str, bool | None]:
    """Every check by name; None for one that needs logits and has none.

    Args:
        reference: Outputs of the reference (B, ...), on seeded noise.
        given: The candidate's, on the same.
        logits: Whether they are logits.
    """
    found: dict[str, bool | None] = {}
    for name, check in COMMON.items():
        if name in OF_LOGITS and not logits:
            found[name] = None
        else:
            same = given.shape == reference.shape and np.isfinite(given).all()
            found[name] = bool(same and check(reference, given))
    return found
