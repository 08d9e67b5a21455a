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
            "frozen": self._frozen(),
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
        """Makes exactly these layers and weights not trainable, all others trainable.

        Afterwards `compile` again. `freeze([])` thaws everything, which
        `model.trainable = True` does not do where the model itself is trainable:
        TensorFlow ignores an assignment of what an attribute is.

        Args:
            paths: Paths below the model, `"blocks_0"` (with all that is in it),
                `"blocks_0/attn"`, `"cls_token"` or `"head/bias"`.

        Raises:
            ValueError: If there is no such layer or weight.
        """
        layers, weights = self._found(paths)
        self.trainable = False
        self.trainable = True
        for item in (*layers, *weights):
            item.trainable = False

    def _freeze_as_saved(self, paths):
        """Freezes what `get_config` lists; a layer that it does not list is not."""
        frozen, weights = self._found(paths)
        for layer in all_layers(self) if frozen else ():  # parents before children
            if layer is not self and layer.weights:
                layer.trainable = layer not in frozen
        for weight in weights:
            weight.trainable = False

    def _found(self, paths):
        """The layers and the weights at some paths."""
        known = {self.relative_path(weight): weight for weight in self.weights}
        paths = list(paths)
        layers = [layer_at(self, path) for path in paths if path not in known]
        return layers, [known[path] for path in paths if path in known]

    def _frozen(self):
        """Paths of frozen layers, and of frozen weights of layers that are not."""
        if not self.trainable:
            return []  # `trainable` says it
        found = []
        for layer in all_layers(self):
            # Dropout has no weights, nor a path: nothing to freeze.
            if layer is not self and layer.weights and not layer.trainable:
                found.append(self.relative_path(layer))
            elif layer.trainable:
                lora = getattr(layer, "lora_enabled", False)  # freezes the kernel
                found += [
                    self.relative_path(weight)
                    for weight in layer._trainable_variables
                    if not weight.trainable and not (lora and weight.name == "kernel")
                ]
        return found

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
