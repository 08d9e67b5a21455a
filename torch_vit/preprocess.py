"""Images and volumes as they are to what the model takes."""

import torch
from torch import Tensor, nn

from torch_vit.preprocess_volume import prepared
from vit_config import ViTConfig
from vit_config.preprocess import check_shape, check_white, matrix, white_of
from vit_config.preprocess_volume import check_volume, plan_of


class Preprocess(nn.Module):
    """Fits to the model's size and normalises as the config's `data` says.

    The steps and their sources are those of `vit_config.preprocess` for images, of
    `vit_config.preprocess_volume` for volumes; nothing is learned or stored.

    Args:
        config: The model.
        white: What white is in float images, 255.0 or 1.0; without it only uint8 is
            taken, whose white is 255. Volumes have none.

    Raises:
        ConfigError: If the config does not state all of its preprocessing.
        ValueError: If `white` is given for volumes, or is no level.
    """

    def __init__(self, config: ViTConfig, *, white: float | None = None) -> None:
        super().__init__()
        check_white(white, config.spatial_dims)
        self.config = config
        self.white = white
        self.plan = plan_of(config)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) of any size -> (B, C, *img_size), float32.

        Images are uint8 or float. Volumes are floats or integers, in the scan's units,
        their axes, orientation and spacing those of the config.

        Raises:
            TypeError: If they are of another type.
            ValueError: If their axes or channels are not those, or if images are float
                and `white` is not given.
        """
        plan = self.plan
        if self.config.spatial_dims == 3:
            dtype = str(images.dtype).removeprefix("torch.")
            check_volume(tuple(images.shape), dtype, self.config.in_chans, 1)
            return prepared(images.to(torch.float32), plan)
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
