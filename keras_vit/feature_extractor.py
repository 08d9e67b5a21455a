"""A Keras model whose outputs are chosen blocks of a ViT."""

from collections.abc import Sequence

import keras

from keras_vit.vit import ViT
from vit_config.indices import take_indices


@keras.saving.register_keras_serializable(package="vit_duet")
class FeatureExtractor(keras.Model):
    """Named block outputs of a ViT, `{"block_3": ..., "block_11": ...}`.

    Saves and loads as any Keras model; the ViT is its child `vit`.

    Args:
        vit: The model, or its `get_config()`.
        indices: As in `ViT.forward_intermediates`.
        norm: Apply the final norm to each.
        reshape: Patch tokens as a map (B, *grid, D); otherwise (B, N, D).
        return_prefix_tokens: Also `"block_3_prefix"` (B, P, D), and so on.
        name: Name of the model.
    """

    def __init__(
        self,
        vit: ViT | dict,
        indices: int | Sequence[int] | None = None,
        *,
        norm: bool = False,
        reshape: bool = True,
        return_prefix_tokens: bool = False,
        name: str = "feature_extractor",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.vit = vit if isinstance(vit, ViT) else ViT.from_config(vit)
        self.indices = take_indices(indices, self.vit.config.depth)
        self.norm = norm
        self.reshape = reshape
        self.return_prefix_tokens = return_prefix_tokens
        config = self.vit.config
        image = keras.KerasTensor((None, *config.img_size, config.in_chans))
        self.compute_output_spec(image)
        self.built = True

    def call(self, x, training=None):
        """(B, *spatial, C) -> dict of block outputs."""
        found = self.vit.forward_intermediates(
            x,
            self.indices,
            norm=self.norm,
            reshape=self.reshape,
            return_prefix_tokens=self.return_prefix_tokens,
            training=training,
        )
        outputs = {}
        for index, entry in zip(self.indices, found, strict=True):
            patches, prefix = entry if self.return_prefix_tokens else (entry, None)
            outputs[f"block_{index}"] = patches
            if prefix is not None:
                outputs[f"block_{index}_prefix"] = prefix
        return outputs

    def get_config(self):
        """The arguments of `__init__`."""
        return {
            "vit": self.vit.get_config(),
            "indices": list(self.indices),
            "norm": self.norm,
            "reshape": self.reshape,
            "return_prefix_tokens": self.return_prefix_tokens,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Makes the model of `get_config`."""
        return cls(**config)


def feature_extractor(
    model: ViT, indices: int | Sequence[int] | None = None, **options
) -> FeatureExtractor:
    """A Keras model with one named output per chosen block, sharing the weights.

    Args:
        model: The ViT.
        indices: None for all blocks, n for the last n, or 0-based block ids.
        **options: `norm`, `reshape`, `return_prefix_tokens`, `name`.
    """
    return FeatureExtractor(model, indices, **options)
