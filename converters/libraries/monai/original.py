"""MONAI's `ViT` (1.6.1)."""

from __future__ import annotations

from typing import Any

from converters.parity.source_model import Raw, SourceModel, fitting, load_strictly
from converters.workers.device import UnavailableError
from vit_config import ViTConfig


def load(raw: Raw) -> SourceModel:
    """The model of a file."""
    from monai.networks.nets import ViT

    if raw.variant.startswith("monai@mae"):
        raise UnavailableError("the file is of a masked autoencoder, another network")
    fields = raw.made.get("fields")
    arguments = _arguments(raw) if fields is None else dict(fields)
    if fields is None:
        fitting(raw, "monai", arguments)
    arguments.pop("_target_", None)
    if "pos_embed" in arguments:  # what proj_type was called up to 1.2
        arguments["proj_type"] = arguments.pop("pos_embed") or "conv"
    module = ViT(**arguments)
    load_strictly(module, raw)
    return outputs_of(module.eval(), raw.config)


def outputs_of(module: Any, config: ViTConfig) -> SourceModel:
    """What it returns first; the second is a list of hidden states."""
    return SourceModel(
        module,
        config,
        lambda x: module(x)[0],
        tokens="norm",
        head="classification_head" if config.num_classes else "",
    )


def _arguments(raw: Raw) -> dict[str, Any]:
    config = raw.config
    head = bool(config.num_classes)
    found: dict[str, Any] = {
        "in_channels": config.in_chans,
        "img_size": config.img_size,
        "patch_size": config.patch_size,
        "hidden_size": config.embed_dim,
        "mlp_dim": config.mlp_dim,
        "num_layers": config.depth,
        "num_heads": config.num_heads,
        "proj_type": "perceptron" if "+perceptron" in raw.variant else "conv",
        # Whatever made the table: the file has it, and it is added.
        "pos_embed_type": "learnable",
        "classification": head,
        "spatial_dims": config.spatial_dims,
        "qkv_bias": bool(config.qkv_bias),
    }
    if head:
        act = "Tanh" if config.head_act == "tanh" else None
        found |= {"num_classes": config.num_classes, "post_activation": act}
    return found
