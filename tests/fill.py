"""The package's deterministic weights and inputs, under the name tests know them by."""

from converters.workers.fill import (
    FAINT,
    LARGE,
    InputKind,
    fill,
    fill_weights,
    image,
    is_faint,
)

__all__ = ["FAINT", "LARGE", "InputKind", "fill", "fill_weights", "image", "is_faint"]
