"""The feed-forward half of a block."""

import keras
from keras import layers, ops

from keras_vit.activations import ACTIVATIONS
from keras_vit.dropout import Dropout
from keras_vit.linear import Linear
from vit_config import ViTConfig
from vit_config.taps import Taps


@keras.saving.register_keras_serializable(package="vit_duet")
class Mlp(layers.Layer):
    """Linear, activation, linear; or SwiGLU, silu(gate) * up (Shazeer, 2020).

    Args:
        config: The model.
        plain: Two layers with biases whatever the config says, as the attention
            pooling of SigLIP has them.
        **kwargs: `name` and `dtype` of the layer.
    """

    def __init__(self, config: ViTConfig, plain: bool = False, **kwargs):
        super().__init__(**kwargs)
        factory = {"dtype": self.dtype_policy}
        self.config = config
        self.gated = config.mlp_layer == "swiglu" and not plain
        self.act = ACTIVATIONS[config.act_layer]
        bias = config.mlp_bias or plain
        rate = 0.0 if plain else config.proj_drop_rate
        branches = 2 if self.gated else 1
        self.fc1 = Linear(branches * config.mlp_dim, bias, name="fc1", **factory)
        self.drop1 = Dropout(rate, name="drop1", **factory)
        self.fc2 = Linear(config.embed_dim, bias, name="fc2", **factory)
        self.drop2 = Dropout(rate, name="drop2", **factory)

    def build(self, input_shape):
        """Builds the children for tokens (B, N, D)."""
        batch, count, _ = input_shape
        self.fc1.build(input_shape)
        self.fc2.build((batch, count, self.config.mlp_dim))

    def call(self, x, training=None, return_taps=False):
        """(B, N, D) -> (B, N, D)."""
        taps = Taps(return_taps)
        x = taps("fc1", self.fc1(x))
        x = self.drop1(taps("act", self.activate(x)), training=training)
        x = taps("fc2", self.fc2(x))
        x = self.drop2(x, training=training)
        return taps.give(x)

    def activate(self, x):
        """Output of `fc1`, one branch or two -> input of `fc2` (B, N, mlp_dim)."""
        if not self.gated:
            return self.act(x)
        gate, up = ops.split(x, 2, axis=-1)
        return self.act(gate) * up
