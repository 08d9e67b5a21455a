"""The pre-norm Transformer block."""

import torch
from torch import Tensor, nn

from torch_vit.attention import Attention
from torch_vit.mlp import Mlp
from vit_config import ViTConfig
from vit_config.taps import Taps


class LayerScale(nn.Module):
    """Learned factor per channel (Touvron et al., 2021).

    Args:
        config: The model.
        **factory: `device` and `dtype` of the weights.
    """

    def __init__(self, config: ViTConfig, **factory) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(config.embed_dim, **factory))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return x * self.gamma


class DropPath(nn.Module):
    """Stochastic depth: drops a whole residual branch per sample (Huang et al., 2016).

    Args:
        rate: Probability of dropping; the rest is scaled by 1 / (1 - rate).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * (mask / keep)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        config: The model.
        index: Position of the block, which sets its stochastic depth.
        **factory: `device` and `dtype` of the weights.
    """

    def __init__(self, config: ViTConfig, index: int, **factory) -> None:
        super().__init__()
        dim, eps = config.embed_dim, config.norm_eps
        scaled = config.init_values is not None
        rate = config.drop_path_rates[index]
        self.norm1 = nn.LayerNorm(dim, eps=eps, **factory)
        self.attn = Attention(config, **factory)
        self.ls1 = LayerScale(config, **factory) if scaled else None
        self.drop_path1 = DropPath(rate)
        self.norm2 = nn.LayerNorm(dim, eps=eps, **factory)
        self.mlp = Mlp(config, **factory)
        self.ls2 = LayerScale(config, **factory) if scaled else None
        self.drop_path2 = DropPath(rate)

    def forward(self, x: Tensor, return_taps: bool = False) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        taps = Taps(return_taps)
        y = taps("norm1", self.norm1(x))
        y = taps.of("attn", self.attn(y, return_taps=return_taps))
        if self.ls1 is not None:
            y = taps("ls1", self.ls1(y))
        x = taps("residual1", x + self.drop_path1(y))
        y = taps("norm2", self.norm2(x))
        y = taps.of("mlp", self.mlp(y, return_taps=return_taps))
        if self.ls2 is not None:
            y = taps("ls2", self.ls2(y))
        x = taps("residual2", x + self.drop_path2(y))
        return taps.give(x)
