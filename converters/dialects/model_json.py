"""A Hugging Face config.json that may be read as any class of its model type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vit_config import ViTConfig
from vit_config.dialects.huggingface import model_classes
from vit_config.dialects.huggingface_data import read_data


@dataclass(frozen=True)
class ModelJson:
    """A config.json that may be read as any class of its model type.

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
