"""Attention pooling with one learned query (SigLIP's map head)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torch_vit.linear import Linear
from torch_vit.mlp import Mlp
from vit_config import ViTConfig


class AttentionPool(nn.Module):
    """Cross-attention from a latent to the tokens, then a residual MLP.

    As timm 1.0.31 `AttentionPoolLatent`, after big_vision's `MAPHead`.

    Args:
        config: The model.
        **factory: `device` and `dtype` of the weights.
    """

    def __init__(self, config: ViTConfig, **factory) -> None:
        super().__init__()
        dim = config.embed_dim
        self.num_heads = config.num_heads
        self.head_dim = dim // config.num_heads
        self.latent = nn.Parameter(torch.zeros(1, 1, dim, **factory))
        self.q = Linear(dim, dim, **factory)
        self.kv = Linear(dim, 2 * dim, **factory)
        self.proj = Linear(dim, dim, **factory)
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps, **factory)
        self.mlp = Mlp(config, plain=True, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, D)."""
        batch, count, dim = x.shape
        heads, width = self.num_heads, self.head_dim
        q = self.q(self.latent.expand(batch, -1, -1))
        q = q.reshape(batch, 1, heads, width)
        kv = self.kv(x).reshape(batch, count, 2, heads, width)
        k, v = kv.unbind(2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        x = x.reshape(batch, 1, dim)
        x = self.proj(x)
        x = x + self.mlp(self.norm(x))
        return x[:, 0]
