"""The pre-norm Transformer block."""

import keras
from keras import layers

from keras_vit.attention import Attention
from keras_vit.dropout import Dropout
from keras_vit.mlp import Mlp
from vit_config import ViTConfig
from vit_config.taps import Taps


@keras.saving.register_keras_serializable(package="vit_duet")
class LayerScale(layers.Layer):
    """Learned factor per channel (Touvron et al., 2021).

    Args:
        config: The model.
        **kwargs: `name` and `dtype` of the layer.
    """

    def __init__(self, config: ViTConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config

    def build(self, input_shape):
        """Creates gamma (D,)."""
        shape = (self.config.embed_dim,)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")

    def call(self, x):
        """(B, N, D) -> (B, N, D)."""
        return x * self.gamma


@keras.saving.register_keras_serializable(package="vit_duet")
class DropPath(Dropout):
    """Stochastic depth: drops a whole residual branch per sample (Huang et al., 2016).

    Args:
        rate: Probability of dropping; the rest is scaled by 1 / (1 - rate).
        **kwargs: `name` and `dtype` of the layer.
    """

    def __init__(self, rate: float, **kwargs):
        kwargs.setdefault("noise_shape", (None, 1, 1))
        super().__init__(rate, **kwargs)


@keras.saving.register_keras_serializable(package="vit_duet")
class Block(layers.Layer):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        config: The model.
        index: Position of the block, which sets its stochastic depth.
        **kwargs: `name` and `dtype` of the layer.
    """

    def __init__(self, config: ViTConfig, index: int, **kwargs):
        super().__init__(**kwargs)
        factory = {"dtype": self.dtype_policy}
        eps = config.norm_eps
        scaled = config.init_values is not None
        rate = config.drop_path_rates[index]
        self.norm1 = layers.LayerNormalization(epsilon=eps, name="norm1", **factory)
        self.attn = Attention(config, name="attn", **factory)
        self.ls1 = LayerScale(config, name="ls1", **factory) if scaled else None
        self.drop_path1 = DropPath(rate, name="drop_path1", **factory)
        self.norm2 = layers.LayerNormalization(epsilon=eps, name="norm2", **factory)
        self.mlp = Mlp(config, name="mlp", **factory)
        self.ls2 = LayerScale(config, name="ls2", **factory) if scaled else None
        self.drop_path2 = DropPath(rate, name="drop_path2", **factory)

    def build(self, input_shape):
        """Builds the children for tokens (B, N, D)."""
        for child in (self.norm1, self.attn, self.norm2, self.mlp):
            child.build(input_shape)
        if self.ls1 is not None:
            self.ls1.build(input_shape)
            self.ls2.build(input_shape)

    def call(self, x, training=None, return_taps=False):
        """(B, N, D) -> (B, N, D)."""
        taps = Taps(return_taps)
        y = taps("norm1", self.norm1(x))
        y = taps.of("attn", self.attn(y, training=training, return_taps=return_taps))
        if self.ls1 is not None:
            y = taps("ls1", self.ls1(y))
        x = taps("residual1", x + self.drop_path1(y, training=training))
        y = taps("norm2", self.norm2(x))
        y = taps.of("mlp", self.mlp(y, training=training, return_taps=return_taps))
        if self.ls2 is not None:
            y = taps("ls2", self.ls2(y))
        x = taps("residual2", x + self.drop_path2(y, training=training))
        return taps.give(x)
