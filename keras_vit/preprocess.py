"""Images and volumes as they are to what the model takes."""

import keras
from keras import layers, ops

from keras_vit.preprocess_volume import prepared
from vit_config import ViTConfig
from vit_config.preprocess import (
    Axis,
    check_shape,
    check_white,
    matrix,
    weights,
    white_of,
)
from vit_config.preprocess_volume import check_volume, plan_of


@keras.saving.register_keras_serializable(package="vit_duet")
class Preprocess(layers.Layer):
    """Fits to the model's size and normalises as the config's `data` says.

    The steps and their sources are those of `vit_config.preprocess` for images, of
    `vit_config.preprocess_volume` for volumes; nothing is learned or stored. It
    computes in float32 under any dtype policy, and works in a TensorFlow graph whose
    inputs have no fixed size, so that a saved model may begin with it:
    `keras.Input((None, None, 3), dtype="uint8")`, `keras.Input((None, None, None, 1))`.

    Args:
        config: The model; a `ViTConfig` or its dict.
        white: What white is in float images, 255.0 or 1.0; without it only uint8 is
            taken, whose white is 255. Volumes have none.
        **kwargs: `name` of the layer.

    Raises:
        ConfigError: If the config does not state all of its preprocessing.
        ValueError: If `white` is given for volumes, or is no level.
    """

    def __init__(
        self, config: ViTConfig | dict, *, white: float | None = None, **kwargs
    ):
        kwargs["dtype"] = "float32"  # half precision has fewer levels than 8 bits
        super().__init__(**kwargs)
        if not isinstance(config, ViTConfig):
            config = ViTConfig.from_dict(config)
        check_white(white, config.spatial_dims)
        self.config = config
        self.white = white
        self.plan = plan_of(config)

    def build(self, input_shape):
        """Checks the axes of (B, *spatial, C)."""
        self.check(input_shape, "float32")

    def check(self, shape, dtype):
        """Checks the axes of (B, *spatial, C), and the type of volumes."""
        if self.config.spatial_dims == 2:
            check_shape(tuple(shape), self.config.in_chans, 3)
        else:
            check_volume(tuple(shape), dtype, self.config.in_chans, 4)

    def call(self, images):
        """(B, *spatial, C) of any size -> (B, *img_size, C), float32.

        Images are uint8 or float. Volumes are floats or integers, in the scan's units,
        their axes, orientation and spacing those of the config.

        Raises:
            TypeError: If they are of another type.
            ValueError: If their axes or channels are not those, or if images are float
                and `white` is not given.
        """
        plan = self.plan
        dtype = keras.backend.standardize_dtype(images.dtype)
        self.check(images.shape, dtype)
        if self.config.spatial_dims == 3:
            return prepared(ops.cast(images, "float32"), plan)
        white = white_of(dtype, self.white)
        rows, columns = self.matrices(images)
        _, height, width, chans = ops.shape(images)
        new_height, new_width = plan.size
        x = ops.cast(images, "float32")
        # Matrices times matrices, which every backend is fast at: columns, then rows.
        x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, width, height * chans))
        x = ops.clip(ops.matmul(columns, x), 0.0, white)
        x = ops.reshape(x, (-1, new_width, height, chans))
        x = ops.transpose(x, (0, 2, 1, 3))
        x = ops.reshape(x, (-1, height, new_width * chans))
        x = ops.clip(ops.matmul(rows, x), 0.0, white)
        x = ops.reshape(x, (-1, new_height, new_width, chans))
        gain = ops.convert_to_tensor([g / white for g in plan.gain], "float32")
        return x * gain + ops.convert_to_tensor(plan.offset, "float32")

    def matrices(self, images):
        """Weights of rows and columns: constants, or of the size that a graph meets."""
        plan = self.plan
        if None not in images.shape[1:3]:
            axes = plan.axes(*images.shape[1:3])
            return [matrix(axis, plan.interpolation) for axis in axes]
        height, width = (ops.cast(n, "int64") for n in ops.shape(images)[1:3])
        axes = [
            # A squashed edge has a length that is known, in Python's own integers.
            Axis(*(ops.cast(n, "int64") for n in axis.numbers), axis.kept)
            for axis in plan.axes(height, width, ops.maximum)
        ]
        return [weights(axis, plan.interpolation, ops) for axis in axes]

    def compute_output_shape(self, input_shape):
        """(B, *spatial, C) -> (B, *img_size, C)."""
        self.check(input_shape, "float32")
        return (input_shape[0], *self.plan.size, self.config.in_chans)

    def get_config(self):
        """The arguments of `__init__`."""
        return {
            "config": self.config.to_dict(),
            "white": self.white,
            "name": self.name,
            "trainable": self.trainable,
        }
