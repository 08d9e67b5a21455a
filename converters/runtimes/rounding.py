"""How far a runtime's rounding may go beyond torch's.

XNNPack, which LiteRT runs on, rounds like kernels that add the terms of a product one
after the other (measured with ai-edge-litert 2.3.0, beside LiteRT's reference kernels).
torch adds long ones in blocks, which rounds less: in order, a product of 768 terms is
off by twice, one of 3072 by four times as much as torch's. At the width of a ViT-B
outputs are 1.8 to 2.5 times as far from float64, in OpenVINO 2026.4.1 up to 2.13 times;
mistakes make it hundreds.
"""

from __future__ import annotations

import math

from converters.judging.rms import RMS_LIMIT
from vit_config import ViTConfig

IN_ORDER = ("litert", "openvino")
LONG = 256
"""Terms of a product that torch adds in one go, too, about."""

LONG_LIMIT = 4.0


def rounding_limit(kind: str, config: ViTConfig) -> float:
    """What the error of an artifact may be, over that of the torch twin.

    Args:
        kind: Its format.
        config: Of the model.
    """
    terms = math.prod(config.patch_size) * config.in_chans
    longest = max(config.embed_dim, config.mlp_dim, terms)
    return LONG_LIMIT if kind in IN_ORDER and longest > LONG else RMS_LIMIT
