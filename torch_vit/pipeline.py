"""A model that takes images or volumes as they are."""

from torch import Tensor, nn

from torch_vit.preprocess import Preprocess
from torch_vit.vit import ViT


class Pipeline(nn.Module):
    """Preprocessing and the model behind it, as one.

    Args:
        vit: The model.
        white: As in `Preprocess`: what white is in float images.

    Attributes:
        preprocess: What is done to the input, as `vit.config.data` says.
        vit: The model.

    Raises:
        ConfigError: If the model's config does not state all of its preprocessing.
    """

    def __init__(self, vit: ViT, *, white: float | None = None) -> None:
        super().__init__()
        self.vit = vit
        self.preprocess = Preprocess(self.vit.config, white=white)

    @property
    def config(self):
        """The model's config."""
        return self.vit.config

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, *spatial) of any size -> what the model gives for it.

        Raises:
            TypeError: If the input is of a type that is not taken.
            ValueError: If its axes or channels are not the model's.
        """
        weight = next(self.vit.parameters())
        return self.vit(self.preprocess(inputs).to(weight.dtype))
