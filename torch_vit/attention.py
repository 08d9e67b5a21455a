"""Multi-head self-attention with a fused qkv projection."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torch_vit.linear import Linear
from vit_config import ViTConfig
from vit_config.taps import Taps


class Attention(nn.Module):
    """Self-attention over all tokens (Vaswani et al., 2017).

    Args:
        config: The model.
        **factory: `device` and `dtype` of the weights.

    Attributes:
        attn_impl: `"fused"` (one kernel) or `"explicit"` (scores, softmax, sum), free
            to change at run time. Attention dropout takes the explicit path in
            training, whatever this says.
    """

    def __init__(self, config: ViTConfig, **factory) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.head_dim = config.attn_head_dim
        self.attn_dim = config.attn_dim
        self.scale = config.attn_head_dim**-0.5
        self.attn_impl = "fused"
        self.qkv = Linear(
            config.embed_dim,
            3 * config.attn_dim,
            bool(config.qkv_bias),
            key_bias=config.qkv_bias != "qv",
            **factory,
        )
        self.q_norm = None
        self.k_norm = None
        if config.qk_norm:
            eps = config.norm_eps
            self.q_norm = nn.LayerNorm(config.attn_head_dim, eps=eps, **factory)
            self.k_norm = nn.LayerNorm(config.attn_head_dim, eps=eps, **factory)
        self.attn_drop = nn.Dropout(config.attn_drop_rate)
        self.proj = Linear(
            config.attn_dim, config.embed_dim, config.proj_bias, **factory
        )
        self.proj_drop = nn.Dropout(config.proj_drop_rate)

    def forward(self, x: Tensor, return_taps: bool = False) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        taps = Taps(return_taps)
        x = taps("qkv", self.qkv(x))
        x = taps("heads", self.attend(x, taps))
        x = taps("proj", self.proj(x))
        x = self.proj_drop(x)
        return taps.give(x)

    def attend(self, qkv: Tensor, taps: Taps) -> Tensor:
        """(B, N, 3HE) -> (B, N, HE): what every head gathers, before `proj`."""
        q, k, v = self.split_heads(qkv)
        dropout = self.training and self.attn_drop.p > 0
        if self.attn_impl == "explicit" or dropout:
            weights = taps("maps", self.softmax_scores(q, k))
            weights = self.attn_drop(weights)
            x = torch.einsum("bhxy,byhe->bxhe", weights, v)
        else:
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.merge_heads(x)

    def maps(self, x: Tensor) -> Tensor:
        """(B, N, D) -> attention weights (B, H, N, N), rows sum to one."""
        q, k, _ = self.split_heads(self.qkv(x))
        return self.softmax_scores(q, k)

    def split_heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, 3HE) -> q, k, v of (B, N, H, E), queries and keys normalised."""
        batch, count, _ = qkv.shape
        qkv = qkv.reshape(batch, count, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.unbind(2)
        if self.q_norm is not None:
            # Over (B, H, N, E), so that the norms' gradients sum in timm's order.
            q = self.q_norm(q.transpose(1, 2)).transpose(1, 2)
            k = self.k_norm(k.transpose(1, 2)).transpose(1, 2)
        return q, k, v

    def softmax_scores(self, q: Tensor, k: Tensor) -> Tensor:
        """(B, N, H, E) twice -> (B, H, N, N), the softmax in float32 or better."""
        scores = torch.einsum("bxhe,byhe->bhxy", q, k) * self.scale
        dtype = torch.promote_types(scores.dtype, torch.float32)
        return scores.softmax(dim=-1, dtype=dtype).to(scores.dtype)

    def merge_heads(self, x: Tensor) -> Tensor:
        """(B, N, H, E) -> (B, N, HE)."""
        batch, count, _, _ = x.shape
        return x.reshape(batch, count, self.attn_dim)
