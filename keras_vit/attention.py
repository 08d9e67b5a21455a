"""Multi-head self-attention with a fused qkv projection."""

import keras
from keras import layers, ops

from keras_vit.dropout import Dropout
from keras_vit.linear import Linear, dot_product_attention
from vit_config import ViTConfig
from vit_config.taps import Taps


@keras.saving.register_keras_serializable(package="vit_duet")
class Attention(layers.Layer):
    """Self-attention over all tokens (Vaswani et al., 2017).

    Args:
        config: The model.
        **kwargs: `name` and `dtype` of the layer.

    Attributes:
        attn_impl: `"fused"` (one kernel) or `"explicit"` (scores, softmax, sum), free
            to change at run time. Attention dropout takes the explicit path in
            training, whatever this says.
    """

    def __init__(self, config: ViTConfig, **kwargs):
        super().__init__(**kwargs)
        factory = {"dtype": self.dtype_policy}
        self.config = config
        self.num_heads = config.num_heads
        self.head_dim = config.attn_head_dim
        self.attn_dim = config.attn_dim
        self.scale = config.attn_head_dim**-0.5
        self.attn_impl = "fused"
        self.qkv = Linear(
            3 * config.attn_dim,
            bool(config.qkv_bias),
            key_bias=config.qkv_bias != "qv",
            name="qkv",
            **factory,
        )
        self.q_norm = None
        self.k_norm = None
        if config.qk_norm:
            norm = {"epsilon": config.norm_eps, **factory}
            self.q_norm = layers.LayerNormalization(name="q_norm", **norm)
            self.k_norm = layers.LayerNormalization(name="k_norm", **norm)
        self.attn_drop = Dropout(config.attn_drop_rate, name="attn_drop", **factory)
        self.proj = Linear(config.embed_dim, config.proj_bias, name="proj", **factory)
        self.proj_drop = Dropout(config.proj_drop_rate, name="proj_drop", **factory)

    def build(self, input_shape):
        """Builds the children for tokens (B, N, D)."""
        batch, count, _ = input_shape
        self.qkv.build(input_shape)
        if self.q_norm is not None:
            self.q_norm.build((batch, self.num_heads, count, self.head_dim))
            self.k_norm.build((batch, self.num_heads, count, self.head_dim))
        self.proj.build((batch, count, self.attn_dim))

    def call(self, x, training=None, return_taps=False):
        """(B, N, D) -> (B, N, D)."""
        taps = Taps(return_taps)
        x = taps("qkv", self.qkv(x))
        x = taps("heads", self.attend(x, taps, training))
        x = taps("proj", self.proj(x))
        x = self.proj_drop(x, training=training)
        return taps.give(x)

    def attend(self, qkv, taps: Taps, training=None):
        """(B, N, 3HE) -> (B, N, HE): what every head gathers, before `proj`."""
        q, k, v = self.split_heads(qkv)
        dropout = training and self.attn_drop.rate > 0
        if self.attn_impl == "explicit" or dropout:
            weights = taps("maps", self.softmax_scores(q, k))
            weights = self.attn_drop(weights, training=training)
            x = ops.einsum("bhxy,byhe->bxhe", weights, v)
        else:
            x = dot_product_attention(q, k, v)
        return self.merge_heads(x)

    def maps(self, x):
        """(B, N, D) -> attention weights (B, H, N, N), rows sum to one."""
        q, k, _ = self.split_heads(self.qkv(x))
        return self.softmax_scores(q, k)

    def split_heads(self, qkv):
        """(B, N, 3HE) -> q, k, v of (B, N, H, E), queries and keys normalised."""
        count = qkv.shape[1]
        qkv = ops.reshape(qkv, (-1, count, 3, self.num_heads, self.head_dim))
        q, k, v = ops.unstack(qkv, 3, axis=2)
        if self.q_norm is not None:
            # Over (B, H, N, E), so that the norms' gradients sum in timm's order.
            q = ops.swapaxes(self.q_norm(ops.swapaxes(q, 1, 2)), 1, 2)
            k = ops.swapaxes(self.k_norm(ops.swapaxes(k, 1, 2)), 1, 2)
        return q, k, v

    def softmax_scores(self, q, k):
        """(B, N, H, E) twice -> (B, H, N, N), the softmax in float32 or better."""
        scores = ops.einsum("bxhe,byhe->bhxy", q, k) * self.scale
        dtype = keras.backend.standardize_dtype(scores.dtype)
        if dtype != "float64":
            scores = ops.cast(scores, "float32")
        return ops.cast(ops.softmax(scores, axis=-1), dtype)

    def merge_heads(self, x):
        """(B, N, H, E) -> (B, N, HE)."""
        return ops.reshape(x, (-1, x.shape[1], self.attn_dim))
