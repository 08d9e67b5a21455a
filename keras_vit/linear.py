"""What has a matrix product: linear layer, patch convolution, attention.

The only file of this package that touches torch, and only under the torch backend, so
that the twins agree to the last bit there: `keras.layers.Dense` computes `matmul + add`
where `torch.nn.Linear` is one fused operation, Keras' convolution runs in the
channels-last memory format, which another kernel computes, and its attention copies
queries, keys and values first. Weights are stored with the strides that torch's own
layers have, so this costs nothing at run time.
"""

import math

import keras
from keras import ops

from keras_vit.init import loading


@keras.saving.register_keras_serializable(package="vit_duet")
class Linear(keras.layers.Dense):
    """y = x W + b.

    Args:
        units: Width of the output.
        use_bias: Whether there is a bias.
        key_bias: False for a fused qkv whose keys have none (VideoMAE, BEiT): the
            middle third of the stored bias is zero, and gets neither used nor trained.
        **kwargs: As in `keras.layers.Dense`.
    """

    def __init__(self, units, use_bias=True, *, key_bias=True, **kwargs):
        kwargs.setdefault("kernel_initializer", "zeros")  # filled by `init_weights`
        super().__init__(units, use_bias=use_bias, **kwargs)
        self.key_bias = key_bias

    def build(self, input_shape):
        """Creates kernel (in, out) and bias (out,)."""
        super().build(input_shape)
        if keras.backend.backend() == "torch" and not self.quantization_mode:
            # Stored (in, out) with the strides of (out, in): `F.linear` then gets the
            # memory that `nn.Linear` has, at no cost, and the same bits come out.
            # Not `T.contiguous()`: it leaves the strides of a single output alone.
            kernel = self._kernel.value
            width, units = kernel.shape
            if loading():  # whatever is in that memory: it gets the file's values
                kernel.data = kernel.new_empty((units, width)).T
            else:
                kernel.data = kernel.data.T.flatten().unflatten(0, (units, width)).T

    def call(self, x, training=None):
        """(..., in) -> (..., units)."""
        if self.quantization_mode:
            y = super().call(x, training=training)
            if self.bias is not None and not self.key_bias:
                y = y - (ops.convert_to_tensor(self.bias) - self.used_bias())
            return y
        bias = self.used_bias()
        if keras.backend.backend() == "torch" and not self.lora_enabled:
            from torch.nn import functional as F

            kernel = ops.convert_to_tensor(self.kernel)
            return F.linear(ops.convert_to_tensor(x), kernel.T, bias)
        # Not `super().call`, which adds all of the bias: taking the keys' part away
        # again leaves it a gradient of rounding errors, and Adam moves it by them.
        y = ops.matmul(x, self.kernel)
        return y if bias is None else ops.add(y, bias)

    def used_bias(self):
        """The bias with the key part zero where the config has none; or None."""
        if self.bias is None:
            return None
        bias = ops.convert_to_tensor(self.bias)
        if self.key_bias:
            return bias
        q, k, v = ops.split(bias, 3)
        return ops.concatenate([q, ops.zeros_like(k), v])

    def quantize(self, mode=None, type_check=True, config=None):
        """As `keras.layers.Dense.quantize`, which refuses subclasses by itself."""
        super().quantize(mode, type_check=False, config=config)

    def get_config(self):
        """The arguments of `__init__`."""
        return {**super().get_config(), "key_bias": self.key_bias}


class PatchConv:
    """Mixin of `PatchConv2D` and `PatchConv3D`: non-overlapping patches."""

    def build(self, input_shape):
        """Creates kernel (*patch, in, out) and bias (out,)."""
        super().build(input_shape)
        if keras.backend.backend() == "torch":
            kernel = self._kernel.value
            last = kernel.ndim - 1
            kernel.data = (
                self.out_first(kernel.data)
                .contiguous()
                .permute(*range(2, last + 1), 1, 0)
            )

    def call(self, x):
        """(B, *spatial, in) -> (B, *grid, out)."""
        if keras.backend.backend() == "tensorflow" and self.rank == 3:
            return self.matrix_product(x)
        if keras.backend.backend() != "torch":
            return super().call(x)
        from torch.nn import functional as F

        kernel = self.out_first(ops.convert_to_tensor(self.kernel))
        bias = None if self.bias is None else ops.convert_to_tensor(self.bias)
        # Not `contiguous()`, which keeps the strides of a single channel, and with them
        # the channels-last kernel.
        *spatial, chans = x.shape[1:]
        x = ops.convert_to_tensor(x).movedim(-1, 1)
        x = x.flatten(1).unflatten(1, (chans, *spatial))
        conv = F.conv2d if self.rank == 2 else F.conv3d
        return conv(x, kernel, bias, stride=self.strides).movedim(1, -1)

    def matrix_product(self, x):
        """The same without a convolution, for TensorFlow in 3D.

        Its CPU kernel for the gradient of a small 3D convolution takes time quadratic
        in the volume (2.21: 79 s for 3 volumes of 32x32x32, patches of 8, width 96).
        """
        x = split_patches(x, self.kernel_size)
        x = ops.matmul(x, ops.reshape(self.kernel, (-1, self.filters)))
        return x if self.bias is None else ops.add(x, self.bias)

    @staticmethod
    def out_first(kernel):
        """(*patch, in, out) -> (out, in, *patch)."""
        last = kernel.ndim - 1
        return kernel.permute(last, last - 1, *range(last - 1))


@keras.saving.register_keras_serializable(package="vit_duet")
class PatchConv2D(PatchConv, keras.layers.Conv2D):
    """`keras.layers.Conv2D`, channels last, with the bits of `torch.nn.Conv2d`."""


@keras.saving.register_keras_serializable(package="vit_duet")
class PatchConv3D(PatchConv, keras.layers.Conv3D):
    """`keras.layers.Conv3D`, channels last, with the bits of `torch.nn.Conv3d`."""


def split_patches(x, patch):
    """(B, *spatial, C) -> (B, *grid, prod(patch) * C), channels fastest.

    One axis after the other: LiteRT transposes six axes at most, and all at once they
    would be eight in 3D.

    Args:
        x: Images or volumes.
        patch: Size of a patch along each spatial axis, which it divides.
    """
    *spatial, chans = x.shape[1:]
    grid = [n // p for n, p in zip(spatial, patch, strict=True)]
    taken = patch[0]  # points of a patch along the axes that are done
    for i in range(1, len(patch)):
        rest = patch[i] * math.prod(spatial[i + 1 :]) * chans
        x = ops.reshape(x, (-1, taken, grid[i], rest))
        x = ops.swapaxes(x, 1, 2)
        taken *= patch[i]
    return ops.reshape(x, (-1, *grid, taken * chans))


def dot_product_attention(q, k, v):
    """(B, N, H, E) three times -> (B, N, H, E); as many queries as one likes."""
    if keras.backend.backend() == "torch":
        from torch.nn import functional as F

        q, k, v = (ops.swapaxes(x, 1, 2) for x in (q, k, v))
        return ops.swapaxes(F.scaled_dot_product_attention(q, k, v), 1, 2)
    if keras.backend.backend() == "tensorflow":
        return products(q, k, v)
    if keras.backend.standardize_dtype(q.dtype) == "float64":
        # Keras' own softmax is in float32 on JAX.
        scores = ops.einsum("bxhe,byhe->bhxy", q, k) * q.shape[-1] ** -0.5
        return ops.einsum("bhxy,byhe->bxhe", ops.softmax(scores, axis=-1), v)
    return ops.dot_product_attention(q, k, v)


def products(q, k, v):
    """The same by products of matrices that lie in memory as TensorFlow likes them.

    Its `einsum`, which is in Keras' own, multiplies by transposed matrices, and a ViT-B
    takes a few percent longer with it (2.21, batches of 8).
    """
    dtype = keras.backend.standardize_dtype(q.dtype)
    scores = ops.matmul(ops.swapaxes(q, 1, 2), ops.transpose(k, (0, 2, 3, 1)))
    if dtype != "float64":
        scores = ops.cast(scores, "float32")
    weights = ops.softmax(scores * q.shape[-1] ** -0.5, axis=-1)
    x = ops.matmul(ops.cast(weights, dtype), ops.swapaxes(v, 1, 2))
    return ops.swapaxes(x, 1, 2)
