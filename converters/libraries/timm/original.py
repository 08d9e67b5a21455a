"""timm's `VisionTransformer` and `VisionTransformerDistilled` (1.0.31)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from converters.files import FOLDER_CONFIG
from converters.parity.source_model import Raw, SourceModel, fitting, load_strictly
from converters.workers.device import UnavailableError
from vit_config import ConfigError, ViTConfig

_NO_ARGUMENTS = {"architecture", "model_args", "label_names", "labels", "num_features"}


def load(raw: Raw) -> SourceModel:
    """The model of a file or folder.

    timm reads a folder's own config, and builds what an architecture's name means.
    Without either its class is made with arguments that say our config.
    """
    made = raw.made
    if made.get("folder"):
        module = _local(raw.path, raw)
    elif "architecture" in made:
        module = _named(str(made["architecture"]), raw)
    elif "architecture" in made.get("fields", {}):
        module = _said(made["fields"], raw)
    else:
        module = _of_class(raw)
    load_strictly(module, raw)
    return outputs_of(module.eval(), raw.config)


def outputs_of(module: Any, config: ViTConfig) -> SourceModel:
    """A call gives what the head gives; without pooling, the tokens are asked for."""
    tokens = config.global_pool == "none"
    call = module.forward_features if tokens else module
    return SourceModel(module, config, call, tokens="norm", head="head")


def _pool(raw: Raw) -> dict[str, Any]:
    """The pooling, where the caller asked for one by name."""
    if not raw.made.get("global_pool"):
        return {}
    pool = raw.config.global_pool
    return {"global_pool": "" if pool == "none" else pool}


def _in_code(raw: Raw) -> dict[str, Any]:
    """What a folder of timm cannot say, and whoever makes its model passes."""
    import timm
    import torch

    found: dict[str, Any] = {}
    if raw.config.init_values is not None:
        found["init_values"] = raw.config.init_values
    if raw.config.mlp_layer == "swiglu":
        apart = raw.variant == "timm@swiglu"
        found["mlp_layer"] = timm.layers.SwiGLU if apart else timm.layers.SwiGLUPacked
        found["act_layer"] = torch.nn.SiLU
    return found


def _local(folder: Path, raw: Raw) -> Any:
    """What timm makes of a folder; the weights are loaded by us."""
    import timm

    return timm.create_model(
        f"local-dir:{folder}", pretrained=False, **_pool(raw), **_in_code(raw)
    )


def _named(architecture: str, raw: Raw) -> Any:
    """What an architecture's name means, for the inputs and classes of the file."""
    import timm

    config = raw.config
    return timm.create_model(
        architecture,
        pretrained=False,
        img_size=config.img_size,
        in_chans=config.in_chans,
        num_classes=config.num_classes,
        **_pool(raw),
    )


def _said(fields: Mapping[str, Any], raw: Raw) -> Any:
    """A `config.json` that the caller gave, or arguments of `create_model`."""
    import timm

    if "pretrained_cfg" in fields or "input_size" in fields:
        folder = raw.folder / "timm"
        folder.mkdir()
        text = json.dumps(dict(fields))
        (folder / FOLDER_CONFIG).write_text(text, encoding="utf-8")
        return _local(folder, raw)
    arguments = {key: fields[key] for key in fields if key not in _NO_ARGUMENTS}
    arguments |= fields.get("model_args") or {}
    return timm.create_model(fields["architecture"], pretrained=False, **arguments)


def _of_class(raw: Raw) -> Any:
    import timm
    from timm.models import deit, vision_transformer

    from converters.libraries.timm.config_writing import class_arguments

    config = raw.config
    try:
        arguments = class_arguments(config)
    except ConfigError as error:
        raise UnavailableError(error.problems[0]) from None
    norm = partial(timm.layers.LayerNorm, eps=config.norm_eps)
    arguments |= {
        "img_size": config.img_size,
        "in_chans": config.in_chans,
        "num_classes": config.num_classes,
        "norm_layer": norm,
        "mlp_layer": getattr(timm.layers, arguments["mlp_layer"]),
    }
    if "embed_norm_layer" in arguments:
        arguments["embed_norm_layer"] = norm
    if raw.variant == "timm@swiglu":  # gate and value in layers of their own
        arguments["mlp_layer"] = timm.layers.SwiGLU
        arguments["mlp_ratio"] /= 2
    fitting(raw, "timm", arguments)
    if config.distilled:
        made = deit.VisionTransformerDistilled
    else:
        made = vision_transformer.VisionTransformer
    del arguments["class"]
    return made(**arguments)
