"""Image or volume to patch tokens."""

import math

import keras
from keras import layers, ops

from keras_vit.linear import Linear, PatchConv2D, PatchConv3D, split_patches
from vit_config import ViTConfig


@keras.saving.register_keras_serializable(package="vit_duet")
class PatchEmbed(layers.Layer):
    """Patches by convolution; by a linear layer when the flattened patch is normalised.

    Args:
        config: The model.
        **kwargs: `name` and `dtype` of the layer.
    """

    def __init__(self, config: ViTConfig, **kwargs):
        super().__init__(**kwargs)
        factory = {"dtype": self.dtype_policy}
        self.config = config
        dual = config.patch_norm == "dual"
        patch = config.patch_size
        eps = config.norm_eps
        self.norm_pre = None
        if dual:
            self.norm_pre = layers.LayerNormalization(
                epsilon=eps, name="norm_pre", **factory
            )
            self.proj = Linear(
                config.embed_dim, config.patch_bias, name="proj", **factory
            )
        else:
            conv = PatchConv2D if config.spatial_dims == 2 else PatchConv3D
            self.proj = conv(
                config.embed_dim,
                kernel_size=patch,
                strides=patch,
                padding="valid",
                data_format="channels_last",
                use_bias=config.patch_bias,
                kernel_initializer="zeros",
                name="proj",
                **factory,
            )
        self.norm = None
        if config.patch_norm != "none":
            self.norm = layers.LayerNormalization(epsilon=eps, name="norm", **factory)

    def build(self, input_shape):
        """Builds the children for images (B, *spatial, C)."""
        config = self.config
        tokens = (None, config.num_patches, config.embed_dim)
        if self.norm_pre is not None:
            flat = config.in_chans * math.prod(config.patch_size)
            self.norm_pre.build((None, config.num_patches, flat))
            self.proj.build((None, config.num_patches, flat))
        else:
            self.proj.build(input_shape)
        if self.norm is not None:
            self.norm.build(tokens)

    def call(self, x):
        """(B, *spatial, C) -> (B, N, D), N row-major over the grid."""
        if self.norm_pre is not None:
            x = self.norm_pre(self.flatten_patches(x))
            x = self.proj(x)
        else:
            x = self.proj(x)
            x = ops.reshape(x, (-1, self.config.num_patches, self.config.embed_dim))
        if self.norm is not None:
            x = self.norm(x)
        return x

    def flatten_patches(self, x):
        """(B, *spatial, C) -> (B, N, prod(patch) * C), channels fastest."""
        config = self.config
        x = split_patches(x, config.patch_size)
        flat = math.prod(config.patch_size) * config.in_chans
        return ops.reshape(x, (-1, config.num_patches, flat))
