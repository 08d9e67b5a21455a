"""Draws a fresh model's weights from the table that both twins share."""

import torch
from torch import Tensor, nn

from vit_config import ViTConfig
from vit_config.init import Init, initial
from vit_config.sincos import sincos_table
from vit_config.weights import weight_table


@torch.no_grad()
def init_weights(model: nn.Module, config: ViTConfig) -> None:
    """Fills every weight in place, with torch's global generator.

    Args:
        model: The twin of `config`, on a real device.
        config: Its configuration.
    """
    weights = dict(model.named_parameters())
    for weight in weight_table(config):
        fill(weights[weight.name], initial(config, weight), config)


def fill(tensor: Tensor, init: Init, config: ViTConfig) -> None:
    """Draws one tensor in place."""
    match init.kind:
        case "constant":
            nn.init.constant_(tensor, init.value)
        case "normal":
            nn.init.normal_(tensor, std=init.value)
        case "truncated_normal":
            cut = 2 * init.value
            nn.init.trunc_normal_(tensor, std=init.value, a=-cut, b=cut)
        case "uniform":
            nn.init.uniform_(tensor, -init.value, init.value)
        case "sincos":
            tensor.copy_(torch.from_numpy(sincos_table(config)))
