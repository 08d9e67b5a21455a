"""A MONAI bundle: network, preprocessing and postprocessing of its JSON configs.

The configs of a bundle are a language: `"@key"` is a reference, `"$..."` Python code,
`"%..."` a copy of text, `"_target_"` a class to be made. References are followed; code
is never run and copies are not made: a value that is one and is needed is refused by
name.
Written from MONAI 1.6.1, `monai/bundle`.

`network_def` gives the model. UNETR, ViTAutoEnc and the masked autoencoder stand for
their encoders. Of the transforms those count that say what the values and axes of the
input are; what only loads, hands on or augments is passed over, any other refused by
name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vit_config.dialects.monai import read_fields
from vit_config.dialects.monai_transforms import PASSED_OVER, READERS
from vit_config.errors import ConfigError

WHAT = "MONAI bundle"

_MARKS = {"_desc_", "_requires_"}  # of the bundle language, without meaning here
_MAX_DEPTH = 20

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


class Language:
    """The configs of a bundle, references followed.

    Args:
        config: Content of one config file.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def resolve(self, value: Any, where: str, depth: int = 0) -> Any:
        """A value with all its references followed.

        Raises:
            ConfigError: For code, a copy, or a reference that leads nowhere or in a
                circle; named by where it stands.
        """
        if depth > _MAX_DEPTH:
            raise ConfigError([f"{where}: references in a circle"], WHAT)
        if isinstance(value, str) and value[:1] in ("$", "%"):
            kind = "Python code, which is not run" if value[0] == "$" else "a copy"
            line = f"{where}: found {value!r}: {kind}; write the value itself"
            raise ConfigError([line], WHAT)
        if isinstance(value, str) and value.startswith("@"):
            return self.resolve(self._find(value, where), where, depth + 1)
        if isinstance(value, Mapping):
            return {
                key: self.resolve(item, f"{where}.{key}", depth + 1)
                for key, item in value.items()
                if key not in _MARKS
            }
        if isinstance(value, list):
            return [
                self.resolve(item, f"{where}.{i}", depth + 1)
                for i, item in enumerate(value)
            ]
        return value

    def follow(self, value: Any, where: str) -> Any:
        """The thing that a reference means, without looking into it."""
        for _ in range(_MAX_DEPTH):
            if not (isinstance(value, str) and value.startswith("@")):
                return value
            value = self._find(value, where)
        raise ConfigError([f"{where}: references in a circle"], WHAT)

    def _find(self, reference: str, where: str) -> Any:
        found: Any = self._config
        for part in re.split(r"::|#", reference[1:]):
            if isinstance(found, Mapping) and part in found:
                found = found[part]
            elif (
                isinstance(found, list) and part.isdecimal() and int(part) < len(found)
            ):
                found = found[int(part)]
            else:
                line = f"{where}: found {reference!r}; there is no {part!r}"
                raise ConfigError([line], WHAT)
        return found


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
        data = _preprocessing(config, language, fields, problems)
        said = _metadata(metadata, fields, problems)
        if dims == 2:
            problems += _plane_problems(data)
            data = {k: v for k, v in data.items() if k not in _VOLUME}
        if problems:
            hint = "leave them out with --set data=null"
            raise ConfigError([f"{line}; {hint}" for line in problems], WHAT)
        fields["data"] = data or None
        fields |= said
        fields |= _postprocessing(config, language, fields)
    fields["source"] = _source(metadata)
    return fields


_VOLUME = {"orientation", "spacing_mm", "intensity", "axes"}
_BYTES = {"kind": "window", "low": 0.0, "high": 255.0}


def _plane_problems(data: Mapping[str, Any]) -> list[str]:
    """What is said of volumes only; pixels from 0 to 255 are an image's anyway."""
    return [
        f"preprocessing: {key} {data[key]!r} cannot be held of a 2D model"
        for key in sorted(_VOLUME & set(data))
        if data[key] != _BYTES
    ]


# ---- network ----------------------------------------------------------------------


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


# ---- what stands around it --------------------------------------------------------


def _transforms(
    config: Mapping[str, Any], language: Language, key: str
) -> list[tuple[str, Mapping[str, Any]]]:
    """Names, without the `d` of their dictionary form, and arguments."""
    train = config.get("train")
    given = config.get(key)
    if given is None and isinstance(train, Mapping):
        given = train.get(key)
    given = language.follow(given, key)
    if given is None:
        return []
    listed = given
    if isinstance(given, Mapping):
        listed = given.get("transforms", [given])
    listed = language.follow(listed, f"{key}.transforms")
    if not isinstance(listed, list):
        raise ConfigError([f"{key}: found {str(given)[:60]!r}; a list"], WHAT)
    found = []
    for i, entry in enumerate(listed):
        item = language.follow(entry, f"{key}.{i}")
        if not isinstance(item, Mapping) or "_target_" not in item:
            if isinstance(item, str) and item.startswith("$"):
                line = f"{key}.{i}: found {item!r}: Python code, which is not run"
                raise ConfigError([f"{line}; leave it out with --set data=null"], WHAT)
            continue
        if item.get("_disabled_") not in (None, False):
            continue
        name = str(item["_target_"]).rpartition(".")[2]
        found.append((re.sub(r"(?<=[a-z])(Dict|D|d)$", "", name), item))
    return found


def _preprocessing(
    config: Mapping[str, Any],
    language: Language,
    fields: Mapping[str, Any],
    problems: list[str],
) -> dict[str, Any]:
    """What the transforms say together; several of a kind, or in another order, no."""
    data: dict[str, Any] = {}
    for i, (name, item) in enumerate(_transforms(config, language, "preprocessing")):
        if name in PASSED_OVER or name.startswith("Rand"):
            continue
        where = f"preprocessing.{i} ({name})"
        reader = READERS.get(name)
        if reader is None:
            problems.append(f"{where}: cannot be held")
            continue
        try:
            given = {
                key: language.resolve(value, f"{where}.{key}")
                for key, value in item.items()
                if key not in ("_target_", "keys", "allow_missing_keys", *_MARKS)
            }
            found = _fitting(reader(dict(given)), given, fields)
            late = [key for key in _BEFORE.get(name, ()) if key in data]
            late += [key for key in found if data.get(key, found[key]) != found[key]]
            if late:
                raise ValueError(f"after one that sets {late[0]}: cannot be held")
            data |= found
        except ConfigError as error:
            problems += error.problems
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"{where}: {error}")
    return data


_INTENSITY = ("mean", "std")  # of the values that a window or the like leaves
_BEFORE = {
    # transform: what is said of its result, and so must not stand there before it
    "Orientation": ("spacing_mm",),
    "ScaleIntensity": _INTENSITY,
    "ScaleIntensityRange": _INTENSITY,
    "ScaleIntensityRangePercentiles": _INTENSITY,
    "NormalizeIntensity": _INTENSITY,
}


def _fitting(
    found: dict[str, Any], given: Mapping[str, Any], fields: Mapping[str, Any]
) -> dict[str, Any]:
    """What a transform says, if it is of inputs of this network.

    Raises:
        ValueError: If it has other channels, or another size.
    """
    channels = fields["in_chans"]
    for key in _INTENSITY:
        if key in found and len(found[key]) == 1:
            found[key] = found[key] * channels
        if key in found and len(found[key]) != channels:
            raise ValueError(f"{key} of {len(found[key])} channels, not {channels}")
    if "intensity" in found and channels > 1 and given.get("channel_wise"):
        raise ValueError("channel_wise=True cannot be held of several channels")
    size, dims = given.get("spatial_size"), fields.get("spatial_dims", 3)
    wanted, size = (
        list(n) if isinstance(n, list | tuple) else [n] * dims
        for n in (fields["img_size"], size)
    )
    if "spatial_size" in given and size != wanted:
        raise ValueError(f"spatial_size={size}; the network's img_size is {wanted}")
    return found


def _postprocessing(
    config: Mapping[str, Any], language: Language, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """What the outputs mean, where an activation says it."""
    if not fields.get("num_classes") or fields.get("head_act"):
        return {}
    for name, item in _transforms(config, language, "postprocessing"):
        if name == "Activations":
            if item.get("softmax") is True:
                return {"problem_type": "single_label"}
            if item.get("sigmoid") is True:
                return {"problem_type": "multi_label"}
    return {}


def _metadata(
    metadata: Mapping[str, Any], fields: Mapping[str, Any], problems: list[str]
) -> dict[str, Any]:
    """Labels, and whether the inputs are those of the network."""
    formats = metadata.get("network_data_format")
    formats = formats if isinstance(formats, Mapping) else {}
    inputs = _single(formats.get("inputs"))
    channels = inputs.get("num_channels")
    if channels is not None and channels != fields["in_chans"]:
        problems.append(
            f"metadata: inputs have num_channels {channels!r}, the network "
            f"{fields['in_chans']}"
        )
    classes = fields.get("num_classes", 0)
    names = _single(formats.get("outputs")).get("channel_def")
    if not classes or not isinstance(names, Mapping) or len(names) != classes:
        return {}
    labels = [names.get(str(i)) for i in range(classes)]
    return {"labels": labels} if all(isinstance(n, str) for n in labels) else {}


def _single(value: Any) -> Mapping[str, Any]:
    """The one entry of an object of inputs or outputs."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return {}
    (entry,) = value.values()
    return entry if isinstance(entry, Mapping) else {}


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
