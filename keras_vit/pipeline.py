"""A model that takes images or volumes as they are."""

import keras

from keras_vit.preprocess import Preprocess
from keras_vit.vit import ViT


@keras.saving.register_keras_serializable(package="vit_duet")
class Pipeline(keras.Model):
    """Preprocessing and the model behind it, as one.

    Args:
        vit: The model, or what `get_config` has of it.
        white: As in `Preprocess`: what white is in float images.
        **kwargs: `name`, `trainable`.

    Attributes:
        preprocess: What is done to the input, as `vit.config.data` says.
        vit: The model.

    Raises:
        ConfigError: If the model's config does not state all of its preprocessing.
    """

    def __init__(self, vit: ViT | dict, *, white: float | None = None, **kwargs):
        kwargs.setdefault("name", "pipeline")
        # The input is 8 bits or float32, in whatever type the model computes.
        super().__init__(dtype="float32", **kwargs)
        self.vit = vit if isinstance(vit, ViT) else ViT.from_config(vit)
        self.preprocess = Preprocess(self.vit.config, white=white, name="preprocess")
        self.built = True

    @property
    def config(self):
        """The model's config."""
        return self.vit.config

    def call(self, inputs, training=None):
        """(B, *spatial, C) of any size -> what the model gives for it.

        Raises:
            TypeError: If the input is of a type that is not taken.
            ValueError: If its axes or channels are not the model's.
        """
        return self.vit(self.preprocess(inputs), training=training)

    def compute_output_shape(self, input_shape):
        """As the model's."""
        prepared = self.preprocess.compute_output_shape(input_shape)
        return self.vit.compute_output_shape(prepared)

    def get_config(self):
        """The model's config, and what else the arguments were."""
        return {
            "vit": self.vit.get_config(),
            "white": self.preprocess.white,
            "name": self.name,
            "trainable": self.trainable,
        }
