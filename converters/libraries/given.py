"""What a caller says about the model in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from converters.errors import refusal
from vit_config import ViTConfig

BLOCK = "block"
"""What a caller may state beside the fields of a config: the kind of the blocks."""
PLAIN_BLOCK = "plain"
UNSEEN = ("num_heads", "img_size", "norm_eps", "act_layer", "global_pool")
"""Fields that change what a model computes and that no name or shape tells."""


@dataclass(frozen=True)
class Given:
    """What the caller says about the model.

    Attributes:
        config: A whole config.
        preset: Name of a preset.
        changes: Single fields, and `"block"`; they stand above the other two.
        origin: How the config was stated, `"config"` or `"preset NAME"`; empty for what
            the source itself says: our config in the file, the library's beside it.
        own: Single fields that the source itself says: the modules of a live model.
        unstated: Fields that a config in JSON leaves to their defaults, although the
            outputs depend on them.
        lacking: Whether the file may lack tensors: that it has none of a kind then says
            nothing against a config that asks for them.
    """

    config: ViTConfig | None = None
    preset: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "config"
    own: Mapping[str, Any] = field(default_factory=dict)
    unstated: frozenset[str] = frozenset()
    lacking: bool = False

    def __bool__(self) -> bool:
        return bool(self.config or self.preset or self.changes)

    @property
    def fields(self) -> dict[str, Any]:
        """The changes that are fields of a config.

        Raises:
            ConversionError: If another block than the plain one is stated.
        """
        fields = dict(self.changes)
        block = fields.pop(BLOCK, PLAIN_BLOCK)
        if block != PLAIN_BLOCK:
            raise refusal(
                f'block: {block!r}; only "{PLAIN_BLOCK}": norms before attention and '
                "MLP, every token attends to every other, nothing is capped or scaled",
                hint="Post-norm and windowed blocks have no place in the schema.",
                kind="config",
            )
        return fields

    def whole(self) -> ViTConfig | None:
        """A config that needs nothing from the file, if there is one."""
        if self.config is not None:
            changes = self.fields
            classes = changes.get("num_classes", self.config.num_classes)
            if classes != self.config.num_classes:
                changes = {**_OF_HEAD[bool(classes)], **changes}
            return self.config.replace(**changes) if changes else self.config
        if self.preset is not None:
            return ViTConfig.preset(self.preset, **self.fields)
        return None


_OF_HEAD: dict[bool, dict[str, Any]] = {
    # what only means the classes a config had: with another number of them, with none
    True: {"labels": None},
    False: {"labels": None, "problem_type": None, "head_act": None},
}
