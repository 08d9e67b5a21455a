"""How a ViT is saved: one config, and weights that are checked when they come back."""

import keras

from keras_vit.guard import WeightsError, all_layers, is_quantized, layer_at


class Saved:
    """Mixin of `ViT`, before `keras.Model` in its bases."""

    def load_weights(self, filepath, skip_mismatch: bool = False, **kwargs):
        """As `keras.Model.load_weights`, and checks that every weight arrived.

        Args:
            filepath: A `.weights.h5`, `.weights.json` or `.keras` file.
            skip_mismatch: Leave weights alone that the file does not have, or has in
                another shape (a new head); all others must still be the file's.
            **kwargs: As in Keras.

        Raises:
            WeightsError: If a weight is not the one of the file.
        """
        self._guard.partial = skip_mismatch
        self._guard.verified = False
        try:
            super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)
        finally:
            self._guard.partial = False
        if not self._guard.verified:
            raise self._guard.failure or WeightsError(
                f"{filepath}: a format that has no weight digests; nothing was compared"
            )

    def get_config(self):
        """The one config, and what Keras itself needs to make the model again."""
        below = [layer for layer in all_layers(self) if layer is not self]
        serialize = keras.dtype_policies.serialize
        return {
            "config": self.config.to_dict(),
            "name": self.name,
            "trainable": self.trainable,
            # Dropout has no weights, nor a path: nothing to freeze.
            "frozen": [
                self.relative_path(layer)
                for layer in below
                if self.trainable and layer.weights and not layer.trainable
            ],
            # Not a DTypePolicyMap: a layer that has one saves its scales as nothing.
            "quantized": {
                self.relative_path(layer): serialize(layer.dtype_policy)
                for layer in below
                if is_quantized(layer)
            },
            "dtype": serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Makes the model of `get_config`."""
        return cls(**config)

    def freeze(self, paths):
        """Makes exactly these layers below the model not trainable.

        Args:
            paths: As `get_config` has them; a layer below one of them that is not
                there itself is trainable.

        Raises:
            ValueError: If there is no such layer.
        """
        frozen = {layer_at(self, path) for path in paths}
        for layer in all_layers(self) if frozen else ():  # parents before children
            if layer is not self and layer.weights:
                layer.trainable = layer not in frozen

    @property
    def layers(self):
        """Direct children, the guard last: Keras loads in this order."""
        children = [layer for layer in super().layers if layer is not self._guard]
        return [*children, self._guard]

    def relative_path(self, item) -> str:
        """Path of a layer or weight below this model, without the model's own name."""
        if item is self:
            return ""
        return (item.path or item.name).removeprefix(f"{self.path}/")
