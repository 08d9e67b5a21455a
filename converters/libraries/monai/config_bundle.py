"""A MONAI bundle: the network of its JSON configs, and what stands around it.

`network_def` gives the model. UNETR, ViTAutoEnc and the masked autoencoder stand for
their encoders. The language of the configs is that of `monai_language`; what the
transforms say is read by `monai_processing`.
Written from MONAI 1.6.1, `monai/bundle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries.monai.config import read_fields
from converters.libraries.monai.config_language import WHAT, Language
from converters.libraries.monai.config_processing import (
    plane_problems,
    preprocessing,
    problem_type,
    single,
    without_volume,
)
from vit_config.errors import ConfigError
from vit_config.wording import setting

_NETS = "monai.networks.nets."
_DECODERS: dict[str, tuple[set[str], dict[str, Any]]] = {
    # what a network has beside its encoder, and what its encoder always is
    "UNETR": (
        {"out_channels", "feature_size", "norm_name", "conv_block", "res_block"},
        {"patch_size": 16, "num_layers": 12},
    ),
    "ViTAutoEnc": ({"out_channels", "deconv_chns"}, {}),
    "MaskedAutoEncoderViT": (
        {
            *("masking_ratio", "decoder_hidden_size", "decoder_mlp_dim"),
            *("decoder_num_layers", "decoder_num_heads", "decoder_pos_embed_type"),
        },
        {},
    ),
}


def read_bundle(
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    transforms: bool = True,
) -> dict[str, Any]:
    """Translates a bundle's config into fields of `ViTConfig`.

    Args:
        config: `inference.json` or `train.json`.
        metadata: `metadata.json`, or nothing.
        transforms: Whether to read preprocessing and postprocessing.

    Raises:
        ConfigError: With every problem found.
    """
    language = Language(config)
    fields = _network(config, language)
    dims = fields.get("spatial_dims", 3)
    if transforms:
        problems: list[str] = []
        data = preprocessing(config, metadata, language, fields, problems)
        said = _metadata(metadata, fields, problems)
        if dims == 2:
            problems += plane_problems(data)
            data = without_volume(data)
        if problems:
            hint = f"leave them out with {setting({'data': None})}"
            raise ConfigError([f"{line}; {hint}" for line in problems], WHAT)
        fields["data"] = data or None
        fields |= said
        fields |= problem_type(config, metadata, language, fields)
    fields["source"] = _source(metadata)
    return fields


def _network(config: Mapping[str, Any], language: Language) -> dict[str, Any]:
    given = language.follow(config.get("network_def"), "network_def")
    if not isinstance(given, Mapping) or "_target_" not in given:
        line = "network_def: required, an object with a _target_"
        raise ConfigError([line], WHAT)
    arguments = dict(language.resolve(given, "network_def"))
    disabled = arguments.pop("_disabled_", False)
    mode = arguments.pop("_mode_", "default")
    if disabled or mode != "default":
        line = f"network_def: _disabled_={disabled!r}, _mode_={mode!r}; made as it is"
        raise ConfigError([line], WHAT)
    name = str(arguments["_target_"])
    short = name.rpartition(".")[2] if name.startswith(_NETS) else name
    if short in _DECODERS:
        others, fixed = _DECODERS[short]
        del arguments["_target_"]
        if short == "MaskedAutoEncoderViT":  # other defaults than ViT's
            arguments = {"mlp_dim": 512, "pos_embed_type": "sincos", **arguments}
        kept = {k: v for k, v in arguments.items() if k not in others}
        odd = [
            f"network_def.{key}: {short} has it of itself"
            for key in fixed
            if key in kept
        ]
        if odd:
            raise ConfigError(odd, WHAT)
        found = read_fields({**kept, **fixed})
        # The masked autoencoder has a class token, and no head reads it.
        return {**found, "class_token": short == "MaskedAutoEncoderViT"}
    if short != "ViT":
        line = (
            f"network_def._target_: found {name!r}, which is not a plain ViT; only "
            + ", ".join(["ViT", *_DECODERS])
        )
        raise ConfigError([line], WHAT)
    try:
        return read_fields(arguments)
    except ConfigError as error:
        lines = [f"network_def.{line}" for line in error.problems]
        raise ConfigError(lines, WHAT) from None


def _metadata(
    metadata: Mapping[str, Any], fields: Mapping[str, Any], problems: list[str]
) -> dict[str, Any]:
    """Labels, and whether the inputs are those of the network."""
    formats = metadata.get("network_data_format")
    formats = formats if isinstance(formats, Mapping) else {}
    inputs = single(formats.get("inputs"))
    channels = inputs.get("num_channels")
    if channels is not None and channels != fields["in_chans"]:
        problems.append(
            f"metadata: inputs have num_channels {channels!r}, the network "
            f"{fields['in_chans']}"
        )
    classes = fields.get("num_classes", 0)
    names = single(formats.get("outputs")).get("channel_def")
    if not classes or not isinstance(names, Mapping) or len(names) != classes:
        return {}
    labels = [names.get(str(i)) for i in range(classes)]
    return {"labels": labels} if all(isinstance(n, str) for n in labels) else {}


def _source(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Where it comes from, as far as `metadata.json` says it in words."""
    keys = {
        "name": "name",
        "library_version": "monai_version",
        "licence": "license",
        "pretraining_data": "data_source",
    }
    said = {field: metadata.get(key) for field, key in keys.items()}
    return {field: text for field, text in said.items() if isinstance(text, str)}
