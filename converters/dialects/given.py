"""What a caller says about the model in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vit_config import ViTConfig


@dataclass(frozen=True)
class Given:
    """What the caller says about the model.

    Attributes:
        config: A whole config.
        preset: Name of a preset.
        changes: Single fields; they stand above the other two.
        origin: How the config was stated, `"config"` or `"preset NAME"`; empty for what
            the source itself says: our config in the file, the library's beside it.
        own: Single fields that the source itself says: the modules of a live model.
        lacking: Whether the file may lack tensors: that it has none of a kind then says
            nothing against a config that asks for them.
    """

    config: ViTConfig | None = None
    preset: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "config"
    own: Mapping[str, Any] = field(default_factory=dict)
    lacking: bool = False

    def __bool__(self) -> bool:
        return bool(self.config or self.preset or self.changes)

    def whole(self) -> ViTConfig | None:
        """A config that needs nothing from the file, if there is one."""
        if self.config is not None:
            changes = dict(self.changes)
            classes = changes.get("num_classes", self.config.num_classes)
            if classes != self.config.num_classes:
                changes = {**_OF_HEAD[bool(classes)], **changes}
            return self.config.replace(**changes) if changes else self.config
        if self.preset is not None:
            return ViTConfig.preset(self.preset, **self.changes)
        return None


_OF_HEAD: dict[bool, dict[str, Any]] = {
    # what only means the classes a config had: with another number of them, with none
    True: {"labels": None},
    False: {"labels": None, "problem_type": None, "head_act": None},
}
