"""Image or volume to patch tokens."""

import math

from torch import Tensor, nn

from torch_vit.linear import Linear
from vit_config import ViTConfig


class PatchEmbed(nn.Module):
    """Patches by convolution; by a linear layer when the flattened patch is normalised.

    Args:
        config: The model.
        **factory: `device` and `dtype` of the weights.
    """

    def __init__(self, config: ViTConfig, **factory) -> None:
        super().__init__()
        self.config = config
        dual = config.patch_norm == "dual"
        patch = config.patch_size
        self.norm_pre = None
        if dual:
            flat = config.in_chans * math.prod(patch)
            self.norm_pre = nn.LayerNorm(flat, eps=config.norm_eps, **factory)
            self.proj = Linear(flat, config.embed_dim, config.patch_bias, **factory)
        else:
            conv = nn.Conv2d if config.spatial_dims == 2 else nn.Conv3d
            self.proj = conv(
                config.in_chans,
                config.embed_dim,
                kernel_size=patch,
                stride=patch,
                bias=config.patch_bias,
                **factory,
            )
        self.norm = None
        if config.patch_norm != "none":
            self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, N, D), N row-major over the grid."""
        if self.norm_pre is not None:
            x = self.norm_pre(self.flatten_patches(x))
            x = self.proj(x)
        else:
            x = self.proj(x)
            x = x.flatten(2).transpose(1, 2)
        if self.norm is not None:
            x = self.norm(x)
        return x

    def flatten_patches(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, N, prod(patch) * C), channels fastest."""
        batch, chans = x.shape[:2]
        grid, patch = self.config.grid_size, self.config.patch_size
        split = [n for pair in zip(grid, patch, strict=True) for n in pair]
        x = x.reshape(batch, chans, *split)
        axes = range(2, 2 + len(split))
        x = x.permute(0, *axes[0::2], *axes[1::2], 1)
        return x.reshape(batch, math.prod(grid), math.prod(patch) * chans)
