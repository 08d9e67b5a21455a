"""The PyTorch twin: one Vision Transformer in two or three spatial dimensions.

Shapes: B batch, C channels, N tokens, D embed_dim, H heads, E head_dim, P prefix
tokens. Images are channels first, (B, C, *spatial).

PYTEST_DONT_REWRITE: with a plugin in it, pytest would warn if this is imported before.
"""

from torch_vit.pipeline import Pipeline
from torch_vit.preprocess import Preprocess
from torch_vit.vit import ViT
from vit_config import ViTConfig

__all__ = ["Pipeline", "Preprocess", "ViT", "ViTConfig"]
