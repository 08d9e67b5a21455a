"""Dropout whose masks can be stored and continued."""

import keras
from keras import layers


@keras.saving.register_keras_serializable(package="vit_duet")
class Dropout(layers.Dropout):
    """`keras.layers.Dropout` that always draws from its own generator.

    Under the torch backend Keras draws the masks of a layer without a seed from
    torch's global generator, which no file holds: a training that is saved and goes on
    in another process would draw other ones.
    """

    def call(self, inputs, training=False):
        """The input, elements of it dropped in training."""
        if not training or self.rate == 0:
            return inputs
        # With a noise shape, all backends use the generator; None is a whole axis.
        shape = self.noise_shape or (None,) * len(inputs.shape)
        return keras.random.dropout(
            inputs, self.rate, noise_shape=shape, seed=self.seed_generator
        )
