"""Weights that a layer owns itself, saved under their names."""


class NamedWeights:
    """Mixin for layers with raw weights of their own (tokens, positions, latent).

    Keras stores such weights by position, so that two of one shape can be exchanged
    without anybody noticing. Here the store's keys are the weights' names, and both
    directions are strict.
    """

    def save_own_variables(self, store):
        """Writes each own weight under its name."""
        for name, weight in self.named_weights().items():
            store[name] = weight

    def load_own_variables(self, store):
        """Reads them back.

        Raises:
            ValueError: If a name is missing or unexpected, or a shape differs.
        """
        weights = self.named_weights()
        found = set(store.keys())
        missing, unexpected = (
            sorted(weights.keys() - found),
            sorted(found - weights.keys()),
        )
        if missing or unexpected:
            raise ValueError(
                f"{self.name}: missing {missing}, unexpected {unexpected} among the "
                "weights of the file"
            )
        for name, weight in weights.items():
            value = store[name]
            if tuple(value.shape) != tuple(weight.shape):
                raise ValueError(
                    f"{self.name}: {name} has shape {tuple(value.shape)} in the file, "
                    f"{tuple(weight.shape)} in the model"
                )
            weight.assign(value)

    def named_weights(self):
        """Own weights by name, in order of creation."""
        own = self._trainable_variables + self._non_trainable_variables
        return {weight.name: weight for weight in own}
