"""Attention pooling with one learned query (SigLIP's map head)."""

import keras
from keras import layers, ops

from keras_vit.linear import Linear, dot_product_attention
from keras_vit.mlp import Mlp
from keras_vit.named_weights import NamedWeights
from keras_vit.pos_embed import expand
from vit_config import ViTConfig


@keras.saving.register_keras_serializable(package="vit_duet")
class AttentionPool(NamedWeights, layers.Layer):
    """Cross-attention from a latent to the tokens, then a residual MLP.

    As timm 1.0.31 `AttentionPoolLatent`, after big_vision's `MAPHead`.

    Args:
        config: The model.
        **kwargs: `name` and `dtype` of the layer.
    """

    def __init__(self, config: ViTConfig, **kwargs):
        super().__init__(**kwargs)
        factory = {"dtype": self.dtype_policy}
        dim = config.embed_dim
        self.config = config
        self.num_heads = config.num_heads
        self.head_dim = dim // config.num_heads
        self.q = Linear(dim, name="q", **factory)
        self.kv = Linear(2 * dim, name="kv", **factory)
        self.proj = Linear(dim, name="proj", **factory)
        self.norm = layers.LayerNormalization(
            epsilon=config.norm_eps, name="norm", **factory
        )
        self.mlp = Mlp(config, plain=True, name="mlp", **factory)

    def build(self, input_shape):
        """Creates the latent and builds the children for tokens (B, N, D)."""
        batch, _, dim = input_shape
        self.latent = self.add_weight(
            name="latent", shape=(1, 1, dim), initializer="zeros"
        )
        self.q.build((batch, 1, dim))
        self.kv.build(input_shape)
        for child in (self.proj, self.norm, self.mlp):
            child.build((batch, 1, dim))

    def call(self, x):
        """(B, N, D) -> (B, D)."""
        _, count, dim = x.shape
        heads, width = self.num_heads, self.head_dim
        q = self.q(expand(ops.cast(self.latent, x.dtype), ops.shape(x)[0]))
        q = ops.reshape(q, (-1, 1, heads, width))
        kv = ops.reshape(self.kv(x), (-1, count, 2, heads, width))
        k, v = ops.unstack(kv, 2, axis=2)
        x = dot_product_attention(q, k, v)
        x = ops.reshape(x, (-1, 1, dim))
        x = self.proj(x)
        x = x + self.mlp(self.norm(x))
        return x[:, 0]
