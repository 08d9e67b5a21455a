"""The feed-forward half of a block."""

from torch import Tensor, nn

from torch_vit.activations import ACTIVATIONS
from torch_vit.linear import Linear
from vit_config import ViTConfig
from vit_config.taps import Taps


class Mlp(nn.Module):
    """Linear, activation, linear; or SwiGLU, silu(gate) * up (Shazeer, 2020).

    Args:
        config: The model.
        plain: Two layers with biases whatever the config says, as the attention
            pooling of SigLIP has them.
        **factory: `device` and `dtype` of the weights.
    """

    def __init__(self, config: ViTConfig, plain: bool = False, **factory) -> None:
        super().__init__()
        self.gated = config.mlp_layer == "swiglu" and not plain
        self.act = ACTIVATIONS[config.act_layer]
        bias = config.mlp_bias or plain
        branches = 2 if self.gated else 1
        self.fc1 = Linear(config.embed_dim, branches * config.mlp_dim, bias, **factory)
        self.drop1 = nn.Dropout(0.0 if plain else config.proj_drop_rate)
        self.fc2 = Linear(config.mlp_dim, config.embed_dim, bias, **factory)
        self.drop2 = nn.Dropout(0.0 if plain else config.proj_drop_rate)

    def forward(self, x: Tensor, return_taps: bool = False) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        taps = Taps(return_taps)
        x = taps("fc1", self.fc1(x))
        x = self.drop1(taps("act", self.activate(x)))
        x = taps("fc2", self.fc2(x))
        x = self.drop2(x)
        return taps.give(x)

    def activate(self, x: Tensor) -> Tensor:
        """Output of `fc1`, one branch or two -> input of `fc2` (B, N, mlp_dim)."""
        if not self.gated:
            return self.act(x)
        gate, up = x.chunk(2, dim=-1)
        return self.act(gate) * up
