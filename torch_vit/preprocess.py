"""Images as they are to what the model takes."""

import torch
from torch import Tensor, nn

from vit_config import ViTConfig
from vit_config.preprocess import check_shape, check_white, make_plan, matrix, white_of


class Preprocess(nn.Module):
    """Resizes, crops and normalises as the config's `data` says.

    The steps and their sources are those of `vit_config.preprocess`; nothing is
    learned or stored.

    Args:
        config: The model.
        white: What white is in float images, 255.0 or 1.0; without it only uint8 is
            taken, whose white is 255.

    Raises:
        ConfigError: If the config does not state all of its preprocessing.
    """

    def __init__(self, config: ViTConfig, *, white: float | None = None) -> None:
        super().__init__()
        check_white(white)
        self.config = config
        self.white = white
        self.plan = make_plan(config)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W), uint8 or float, of any size -> (B, C, *img_size), float32.

        Raises:
            TypeError: If the images are of another type.
            ValueError: If their axes or channels are not those, or if they are float
                and `white` is not given.
        """
        plan = self.plan
        check_shape(tuple(images.shape), self.config.in_chans, 1)
        white = white_of(str(images.dtype).removeprefix("torch."), self.white)
        rows, columns = (
            torch.tensor(matrix(axis, plan.interpolation), device=images.device)
            for axis in plan.axes(*images.shape[2:])
        )
        x = torch.matmul(images.to(torch.float32), columns.T)
        x = torch.clip(x, 0.0, white)
        x = torch.matmul(rows, x)
        x = torch.clip(x, 0.0, white)
        gain = x.new_tensor([g / white for g in plan.gain])
        return x * gain[:, None, None] + x.new_tensor(plan.offset)[:, None, None]
