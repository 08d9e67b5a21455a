"""What the transforms of a MONAI bundle say of its network's inputs and outputs.

Those count that say what the values and axes of the input are; what only loads, hands
on or augments is passed over, any other refused by name. A dictionary transform works
on the items that its `keys` name: one that leaves the network's input alone says
nothing of it.
Written from MONAI 1.6.1, `monai/transforms` and `monai/engines`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from converters.libraries.monai.config_language import MARKS, WHAT, Language
from converters.libraries.monai.config_transforms import (
    CASTS,
    PASSED_OVER,
    READERS,
    check_dtype,
    check_reader,
)
from vit_config.errors import ConfigError
from vit_config.wording import setting

_PER_KEY = {
    # arguments of which a dictionary transform may have one for each of its keys
    *("mode", "padding_mode", "align_corners", "dtype", "anti_aliasing"),
    *("anti_aliasing_sigma", "softmax", "sigmoid"),
}
_INTO = ("name", "names", "overwrite")  # arguments that say where a result goes


@dataclass(frozen=True)
class _Transform:
    """One transform of a list.

    Attributes:
        where: Where it stands, for messages.
        name: Its class, without the `d` of the dictionary form.
        keyed: Whether it is of the dictionary form.
        item: Its arguments, references not followed.
    """

    where: str
    name: str
    keyed: bool
    item: Mapping[str, Any]

    def keys(self, language: Language) -> list[str] | None:
        """The items that it works on; None if it does not say so.

        Raises:
            ConfigError: If they are code.
        """
        if not self.keyed or "keys" not in self.item:
            return None
        keys = language.resolve(self.item["keys"], f"{self.where}.keys")
        return [str(key) for key in (keys if isinstance(keys, list) else [keys])]

    def leaves(self, language: Language, own: str) -> bool:
        """Whether it does nothing to an item of the data.

        Raises:
            ConfigError: If its keys are code.
            ValueError: If it puts something else in the place of that item.
        """
        keys = self.keys(language)
        if keys is None or own in keys:
            return False
        for name in _INTO:
            into = language.follow(self.item.get(name), self.where)
            if own in (into if isinstance(into, list) else [into]):
                raise ValueError(f"{name}={into!r}: it makes {own!r} of other items")
        return True

    def arguments(self, language: Language, own: str) -> dict[str, Any]:
        """Its arguments for one item of the data, but for the type of its result.

        Raises:
            ConfigError: If one of them is code.
            ValueError: If values are lost in the type of its result.
        """
        keys = self.keys(language)
        found = {}
        for name, value in self.item.items():
            if name in ("_target_", "_disabled_", "keys", "allow_missing_keys", *MARKS):
                continue
            where = f"{self.where} ({self.name}).{name}"
            own_value = language.follow(value, where)
            if keys and name in _PER_KEY and isinstance(own_value, list):
                if len(own_value) != len(keys):
                    raise ValueError(
                        f"{name}: {len(own_value)} values for {len(keys)} keys"
                    )
                own_value = language.follow(own_value[keys.index(own)], where)
            if name == "dtype":
                check_dtype(own_value)
            elif self.name not in CASTS:
                found[name] = language.resolve(own_value, where)
        return found


def preprocessing(
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    language: Language,
    fields: Mapping[str, Any],
    problems: list[str],
) -> dict[str, Any]:
    """What the transforms say together; several of a kind, or in another order, no.

    Args:
        config: `inference.json` or `train.json`.
        metadata: `metadata.json`, or nothing.
        language: The config's references.
        fields: The network's fields of `ViTConfig`.
        problems: What is found to be wrong is added here.

    Returns:
        Fields of `DataConfig`.
    """
    data: dict[str, Any] = {}
    transforms = _transforms(config, language, "preprocessing")
    own = _item(transforms, language, "image", _names(metadata, "inputs"))
    for transform in transforms:
        name, where = transform.name, f"{transform.where} ({transform.name})"
        loads = name == "LoadImage" and fields.get("spatial_dims", 3) == 2
        if (name in PASSED_OVER and not loads) or name.startswith("Rand"):
            continue
        try:
            if transform.leaves(language, own):
                continue
            if loads:
                check_reader(transform.arguments(language, own))
                continue
            if name not in READERS and name not in CASTS:
                raise ValueError("cannot be held")
            given = transform.arguments(language, own)
            if name in CASTS:
                continue
            found = _fitting(READERS[name](dict(given)), given, fields, data)
            late = [key for key in _BEFORE.get(name, ()) if key in data]
            late += [key for key in found if data.get(key, found[key]) != found[key]]
            if late:
                raise ValueError(f"after one that sets {late[0]}: cannot be held")
            data |= found
        except ConfigError as error:
            problems += error.problems
        except KeyError as error:
            problems.append(f"{where}: {error.args[0]} must be stated")
        except (TypeError, ValueError) as error:
            problems.append(f"{where}: {error}")
    return data


def problem_type(
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    language: Language,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """What the outputs mean, where an activation after the network says it."""
    if not fields.get("num_classes"):
        return {}
    transforms = _transforms(config, language, "postprocessing")
    own = _item(transforms, language, "pred", _names(metadata, "outputs"))
    for transform in transforms:
        if transform.name != "Activations":
            continue
        try:
            if transform.leaves(language, own):
                continue
            given = transform.arguments(language, own)
        except ValueError as error:
            line = f"{transform.where} (Activations): {error}"
            raise ConfigError(
                [f"{line}; leave it out with {setting({'data': None})}"], WHAT
            ) from None
        if given.get("softmax") is True:
            return {"problem_type": "single_label"}
        if given.get("sigmoid") is True:
            return {"problem_type": "multi_label"}
    return {}


def _names(metadata: Mapping[str, Any], side: str) -> list[str]:
    """The items that `metadata.json` says the network takes or gives."""
    formats = metadata.get("network_data_format")
    listed = formats.get(side) if isinstance(formats, Mapping) else None
    return list(listed) if isinstance(listed, Mapping) else []


def _item(
    transforms: Sequence[_Transform], language: Language, usual: str, said: list[str]
) -> str:
    """The item of the data that the network takes or gives.

    It is MONAI's own name for it (`monai.utils.CommonKeys`) where a transform has that;
    else the one that the metadata names, else the one that all transforms work on.
    """
    found: list[str] = []
    for transform in transforms:
        try:
            found += transform.keys(language) or []
        except ConfigError:
            continue  # code; said where it matters
    if usual in found or not found:
        return usual
    others = set(found) & set(said) or set(found)
    return min(others) if len(others) == 1 else usual


def _transforms(
    config: Mapping[str, Any], language: Language, key: str
) -> list[_Transform]:
    """The transforms of a list that are not switched off."""
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
        where = f"{key}.{i}"
        item = language.follow(entry, where)
        if not isinstance(item, Mapping) or "_target_" not in item:
            if isinstance(item, str) and item.startswith("$"):
                line = f"{where}: found {item!r}: Python code, which is not run"
                raise ConfigError(
                    [f"{line}; leave it out with {setting({'data': None})}"], WHAT
                )
            continue
        if language.disabled(item, where):
            continue
        target = str(item["_target_"]).rpartition(".")[2]
        name = re.sub(r"(?<=[a-z])(Dict|D|d)$", "", target)
        found.append(_Transform(where, name, name != target, item))
    return found


_FLAT_ONLY = ("bicubic", "nearest-exact")  # ways to resize that volumes do not have
_INTENSITY = ("mean", "std")  # of the values that a window or the like leaves
_BEFORE = {
    # transform: what is said of its result, and so must not stand there before it
    "Orientation": ("spacing_mm", "fit"),
    "Spacing": ("intensity", *_INTENSITY, "fit"),
    "ScaleIntensity": _INTENSITY,
    "ScaleIntensityRange": _INTENSITY,
    "ScaleIntensityRangePercentiles": _INTENSITY,
    "NormalizeIntensity": _INTENSITY,
}


def _fitting(
    found: dict[str, Any],
    given: Mapping[str, Any],
    fields: Mapping[str, Any],
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """What a transform says, if it is of inputs of this network.

    Args:
        found: What it says.
        given: Its arguments.
        fields: The network's fields.
        before: What the transforms before it say.

    Raises:
        ValueError: If it has other channels, or another size, or stands where it
            cannot be held.
    """
    channels = fields["in_chans"]
    for key in _INTENSITY:
        if key in found and len(found[key]) == 1:
            found[key] = found[key] * channels
        if key in found and len(found[key]) != channels:
            raise ValueError(f"{key} of {len(found[key])} channels, not {channels}")
    flat = fields.get("spatial_dims", 3) == 2
    if "intensity" in found and channels > 1 and given.get("channel_wise") and flat:
        raise ValueError("channel_wise=True cannot be held of several channels")
    if "intensity" in found and before.get("fit_first") is False:
        raise ValueError("after one that sets fit: cannot be held")
    padded = before.get("pad_value") is not None and not before["fit_first"]
    if "mean" in found and padded:
        raise ValueError("after one that pads: cannot be held")
    if found.get("fit") == "resize" and flat:
        if found["interpolation"] != "nearest-exact":
            # MONAI's `anti_aliasing=True`, a Gauss filter, is another thing, too.
            mode = given.get("mode", "area")
            raise ValueError(
                f"mode={mode!r} cannot be held of images: they are resampled with "
                "antialiasing here, which MONAI's Resize is not; 'nearest-exact' can"
            )
        found = {"interpolation": "nearest", "crop_pct": 1.0, "crop_mode": "squash"}
    elif found.get("fit") == "resize" and found["interpolation"] in _FLAT_ONLY:
        mode = found["interpolation"]
        raise ValueError(f"mode={mode!r} cannot be held of volumes")
    elif "fit" in found:
        if "fit" in before:
            raise ValueError("after one that sets fit: cannot be held")
        found["fit_first"] = not {"intensity", "mean"} & set(before)
    size, dims = given.get("spatial_size"), fields.get("spatial_dims", 3)
    wanted, size = (
        list(n) if isinstance(n, list | tuple) else [n] * dims
        for n in (fields["img_size"], size)
    )
    if "spatial_size" in given and size != wanted:
        raise ValueError(f"spatial_size={size}; the network's img_size is {wanted}")
    return found


_VOLUME = {"orientation", "spacing_mm", "spacing_mode", "intensity", "axes"}
_VOLUME |= {"fit", "fit_first", "pad_value"}
_BYTES = {"kind": "window", "low": 0.0, "high": 255.0}


def plane_problems(data: Mapping[str, Any]) -> list[str]:
    """What is said of volumes only; pixels from 0 to 255 are an image's anyway."""
    return [
        f"preprocessing: {key} {data[key]!r} cannot be held of a 2D model"
        for key in sorted(_VOLUME & set(data))
        if key != "intensity" or {**data[key], "clip": None} != {**_BYTES, "clip": None}
    ]


def without_volume(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of an image."""
    return {key: value for key, value in data.items() if key not in _VOLUME}


def single(value: Any) -> Mapping[str, Any]:
    """The one entry of an object of inputs or outputs."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return {}
    (entry,) = value.values()
    return entry if isinstance(entry, Mapping) else {}
