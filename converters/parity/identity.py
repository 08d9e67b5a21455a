"""What a record says of a model: its identity, its architecture, what was stated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from converters.checks.architecture import architecture_items, statements_of
from converters.mapping.pipe import model_fingerprint
from converters.parity.record import Check
from vit_config import Statement, ViTConfig

STATED = "stated by hand"
"""Name of the check that says what both sides were told."""


def identity_of(config: ViTConfig | None, fingerprint: str) -> dict[str, Any]:
    """Fields of an `Operand` that follow from its config and its weights' hash.

    Args:
        config: Its config; None if it states none.
        fingerprint: SHA-256 over its weights; empty if it states none.
    """
    if config is None:
        return {"fingerprint": fingerprint, "architecture": ""}
    model = model_fingerprint(fingerprint, config) if fingerprint else ""
    return {
        "fingerprint": fingerprint,
        "architecture": config.architecture_hash(),
        "model": model,
        "about": architecture_items(config),
        "fields": config.architecture(),
        "stated": tuple(map(_public, statements_of(config))),
    }


def _public(one: Statement) -> Statement:
    """Labels and origin are in a record as hashes only."""
    if one.field != "labels" and not one.field.startswith("source."):
        return one
    digest = hashlib.sha256(one.value.encode()).hexdigest()[:12]
    return one.model_copy(update={"value": digest})


def statement_checks(a: ViTConfig, b: ViTConfig | None) -> Iterator[Check]:
    """Says what both sides were told: the two then agree, whether it is right or not.

    What one side was told and the other says itself is confirmed by the other.
    """
    of_a, of_b = (
        [str(_public(one)) for one in statements_of(config)] for config in (a, b)
    )
    both = [text for text in of_a if text in of_b]
    if both:
        yield Check(
            level="config",
            name=STATED,
            subject="A and B",
            status="reported",
            message=f"both sides were told {', '.join(both)}: nothing here tests "
            "whether that is right",
        )
