"""A config.json of another library, until the tensors beside it are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.libraries.config import from_dialect
from converters.libraries.huggingface.config import model_classes
from converters.libraries.huggingface.config_data import (
    image_size,
    read_data,
    without_data,
)
from vit_config import ConfigError, DataConfig, ViTConfig

PREPROCESSOR = "preprocessor_config.json"
UNSCALED = (
    f"{PREPROCESSOR} rescales nothing (do_rescale), and its image_mean and image_std "
    "are those of values from 0 to 1"
)


@dataclass(frozen=True)
class ModelJson:
    """A Hugging Face config.json, which may be read as any class of its model type.

    Attributes:
        fields: Its content.
        preprocessing: What stands beside it about images, if anything.
    """

    fields: Mapping[str, Any]
    preprocessing: Mapping[str, Any] | None = None

    @property
    def stated(self) -> str | None:
        """The class that it names, if it is one of those known for its type."""
        value = self.fields.get("architectures")
        if not isinstance(value, list | tuple) or len(value) != 1:
            return None
        return value[0] if value[0] in model_classes(self.fields) else None

    def without(self, changes: Mapping[str, Any]) -> ModelJson:
        """Without the labels and the preprocessing that single fields stand above."""
        fields = dict(self.fields)
        if "labels" in changes:
            names = fields.pop("id2label", None)
            fields.pop("label2id", None)
            if isinstance(names, Mapping) and names:
                fields.setdefault("num_labels", len(names))
        preprocessing = None if "data" in changes else self.preprocessing
        return ModelJson(fields, preprocessing)

    def remarks(self, config: ViTConfig) -> tuple[str, ...]:
        """What the preprocessing does that the model does not take."""
        if self.preprocessing is None:
            return ()
        found = [UNSCALED] if config.data and _unscaled(config.data) else []
        made = image_size(self.preprocessing, str(self.fields["model_type"]))
        wanted = config.img_size[-2:]
        if made not in (None, wanted):
            found.append(_other_size(f"{PREPROCESSOR} makes", made or (), wanted))
        return tuple(found)

    def read(self, name: str | None = None, classes: int | None = None) -> ViTConfig:
        """The config as it stands, or as that of another class.

        Args:
            name: The class; None for the one that the file names.
            classes: Number of classes, where the file does not say one.

        Raises:
            ConfigError: If it describes no model of that class.
        """
        fields = dict(self.fields)
        if name is not None:
            fields["architectures"] = [name]
        unsaid = fields.get("num_labels") is None and fields.get("id2label") is None
        if classes and unsaid:
            fields["num_labels"] = classes
        config = ViTConfig.from_dialect("huggingface", fields)
        if self.preprocessing is None:
            return config
        kind = str(fields["model_type"])
        data = read_data(self.preprocessing, config.in_chans, kind)
        return config.replace(data=data)


_LABELS = ("label_names", "labels", "label_descriptions")


@dataclass(frozen=True)
class TimmJson:
    """A config.json of timm, or arguments of its class.

    Attributes:
        fields: Its content.
    """

    fields: Mapping[str, Any]

    def read(self, changes: Mapping[str, Any]) -> ViTConfig:
        """The config.

        Args:
            changes: Single fields that the caller states. Labels and preprocessing that
                these replace are not read.

        Raises:
            ConfigError: If it describes no model.
        """
        fields = dict(self.fields)
        cfg = fields.get("pretrained_cfg")
        if "labels" in changes:
            fields = _without_labels(fields)
            if isinstance(cfg, Mapping):
                fields["pretrained_cfg"] = _without_labels(cfg)
        found = from_dialect("timm", fields)
        if "data" in changes:
            found["data"] = None
        try:
            return ViTConfig(**found)
        except ConfigError as error:
            if all(line.startswith("data.") for line in error.problems):
                raise ConfigError(without_data(error.problems)) from None
            raise

    def remarks(self, config: ViTConfig) -> tuple[str, ...]:
        """Images of another size than the model's: timm resamples its positions."""
        cfg = self.fields.get("pretrained_cfg")
        size = cfg.get("input_size") if isinstance(cfg, Mapping) else None
        if not isinstance(size, list | tuple) or len(size) != 3:
            return ()
        step = f"crop_input:{'x'.join(map(str, size[1:]))}"
        steps = config.source.steps if config.source else ()
        if tuple(size[1:]) == config.img_size or any(s.startswith(step) for s in steps):
            return ()
        return (_other_size("config.json says", tuple(size[1:]), config.img_size),)


def _unscaled(data: DataConfig) -> bool:
    """Whether values up to 255 are normalised by what looks like those up to 1."""
    small = bool(data.std) and max(data.std or ()) <= 1 and any(data.mean or ())
    return data.input_range == (0.0, 255.0) and small


def _other_size(what: str, made: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    sizes = (" x ".join(map(str, size)) for size in (made, wanted))
    return "{} images of {}, the model takes {}: that counts".format(what, *sizes)


def _without_labels(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in _LABELS}
