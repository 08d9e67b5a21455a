"""The rows that `vit-duet table` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from converters.mapping.table import KERAS

if TYPE_CHECKING:
    from vit_config import ViTConfig


def rows(config: ViTConfig | None) -> list[list[str]]:
    """The mapping of one model with its shapes, or the rules for all.

    Returns:
        A table, the first row its heading.
    """
    if config is None:
        return [
            ["torch", "keras", "torch axes -> keras axes"],
            *(
                [" + ".join(row.sources), " + ".join(row.targets), row.pattern]
                for row in KERAS.rows
            ),
        ]
    return [
        ["torch", "shape", "keras", "shape", "torch axes -> keras axes"],
        *(
            [
                " + ".join(step.sources),
                _shape(step.source_shape),
                " + ".join(step.targets),
                _shape(step.target_shape),
                step.pattern,
            ]
            for step in KERAS.plan(config).steps
        ),
    ]


def dialect_table(as_json: bool = False, markdown: bool = False) -> str:
    """What `--dialects` prints: every dialect, and what it was checked against."""
    from converters.libraries import listing

    found = listing.listed()
    if as_json:
        return json.dumps([row.to_dict() for row in found])
    return listing.markdown(found) if markdown else listing.text(found)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
