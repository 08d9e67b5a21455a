"""The Keras 3 twin: one Vision Transformer in two or three spatial dimensions.

Shapes: B batch, C channels, N tokens, D embed_dim, H heads, E head_dim, P prefix
tokens. Images are channels last, (B, *spatial, C).

PYTEST_DONT_REWRITE: with a plugin in it, pytest would warn if this is imported before.
"""

from keras_vit.feature_extractor import FeatureExtractor, feature_extractor
from keras_vit.guard import WeightsError
from keras_vit.loading import load_model
from keras_vit.pipeline import Pipeline
from keras_vit.preprocess import Preprocess
from keras_vit.vit import ViT
from vit_config import ViTConfig

__all__ = [
    "FeatureExtractor",
    "Pipeline",
    "Preprocess",
    "ViT",
    "ViTConfig",
    "WeightsError",
    "feature_extractor",
    "load_model",
]
