"""CLIP and Siglip, image and text in one Hugging Face `config.json`: the image tower.

Read from transformers 5.23.0. The tower's own section may repeat fields of the whole
(number of labels, width of the projection); what counts is the whole's. Where an older
file has a `vision_config_dict`, it takes the place of `vision_config`, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries.config_fields import (
    Refused,
    Spec,
    Take,
    count,
    optional,
    read,
    text,
)
from converters.libraries.huggingface.config_fields import (
    COMMON_IGNORED,
    COMMON_SAME,
    COMMON_TAKE,
)

COMPOSITES: dict[str, tuple[str, tuple[str, ...]]] = {
    # model_type: that of the tower, and the model classes
    "clip": ("clip_vision_model", ("CLIPModel", "CLIPForImageClassification")),
    "siglip": ("siglip_vision_model", ("SiglipModel", "SiglipForImageClassification")),
}
_LABELS = ("num_labels", "id2label", "problem_type")
_TEXT = "of the text tower"


def image_tower(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of the image tower of a whole CLIP or Siglip; others as they are.

    Raises:
        ConfigError: With every field of the whole that is missing or unknown.
    """
    model_type = given.get("model_type")
    if model_type not in COMPOSITES:
        return given
    tower, classes = COMPOSITES[model_type]
    v = read(_spec(model_type, classes), given)
    section = v["vision_config_dict"] or v["vision_config"] or {}
    fields = {name: value for name, value in section.items() if name not in _OWN}
    own = (*_LABELS, "label2id")
    fields |= {name: given[name] for name in own if name in given}
    if model_type == "clip":
        fields["projection_dim"] = v["projection_dim"]
    return {**fields, "model_type": tower, "architectures": [v["architectures"]]}


_OWN = {*_LABELS, "label2id", "architectures", "model_type", "projection_dim"}


def _section(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Refused("an object, the configuration of the tower")
    return value


def _spec(model_type: str, classes: tuple[str, ...]) -> Spec:
    def architecture(value: Any) -> str:
        if isinstance(value, list | tuple) and len(value) == 1 and value[0] in classes:
            return str(value[0])
        listed = " or ".join(repr([name]) for name in classes)
        raise Refused(f"{listed}: it decides what the model returns")

    take = {
        "model_type": Take(text),
        "architectures": Take(architecture, None),
        "vision_config": Take(optional(_section), None),
        "vision_config_dict": Take(optional(_section), None),
        **{name: COMMON_TAKE[name] for name in _LABELS},
    }
    if model_type == "clip":
        take["projection_dim"] = Take(count, 512)
    return Spec(
        name=f"Hugging Face {model_type}",
        take=take,
        same=COMMON_SAME,
        ignored={
            **COMMON_IGNORED,
            **dict.fromkeys(("text_config", "text_config_dict"), _TEXT),
            "logit_scale_init_value": "of the contrastive loss",
            "initializer_factor": "initialisation only",
        },
    )
