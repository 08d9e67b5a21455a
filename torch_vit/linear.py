"""The linear layer, also with the key bias left out."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """y = x W^T + b.

    Args:
        in_features: Width of the input.
        out_features: Width of the output.
        bias: Whether there is a bias.
        key_bias: False for a fused qkv whose keys have none (VideoMAE, BEiT): the
            middle third of the stored bias is zero, and gets neither used nor trained.
        device: As in `torch.nn.Linear`.
        dtype: As in `torch.nn.Linear`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        key_bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        self.key_bias = key_bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        bias = self.bias
        if bias is not None and not self.key_bias:
            q, k, v = bias.chunk(3)
            bias = torch.cat([q, torch.zeros_like(k), v])
        return F.linear(x, self.weight, bias)
