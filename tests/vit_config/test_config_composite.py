"""A whole CLIP or Siglip's `config.json`: its image tower, and nothing of the text."""

from __future__ import annotations

import pytest

from vit_config import ConfigError, ViTConfig

SIZE = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 36,
    "image_size": 24,
    "patch_size": 8,
}
TEXT = {"hidden_size": 16, "vocab_size": 30, "model_type": "clip_text_model"}
# What transformers 4 wrote into every section.
JUNK = {
    "num_labels": 2,
    "id2label": {"0": "LABEL_0"},
    "top_k": 50,
    "torchscript": False,
}


def whole(model: str, architecture: str, **fields: object) -> ViTConfig:
    tower = {**SIZE, "model_type": f"{model}_vision_model", "architectures": None}
    tower |= fields.pop("vision", {})  # type: ignore[call-overload]
    return ViTConfig.from_dialect(
        "huggingface",
        {
            "model_type": model,
            "architectures": [architecture],
            "vision_config": tower,
            "text_config": TEXT,
            "transformers_version": "4.30.0",
            **fields,
        },
    )


def alone(model: str, architecture: str, **fields: object) -> ViTConfig:
    given = {"model_type": f"{model}_vision_model", "architectures": [architecture]}
    return ViTConfig.from_dialect("huggingface", {**SIZE, **given, **fields})


def test_clip_ends_in_the_projection_of_the_whole() -> None:
    found = whole("clip", "CLIPModel", projection_dim=5, vision={"projection_dim": 7})
    wanted = alone("clip", "CLIPVisionModelWithProjection", projection_dim=5)
    assert found == wanted
    assert (found.num_classes, found.head_bias) == (5, False)


def test_siglip_ends_in_its_pooling() -> None:
    found = whole("siglip", "SiglipModel")
    assert found == alone("siglip", "SiglipVisionModel")
    assert found.global_pool == "map"
    bare = whole("siglip", "SiglipModel", vision={"vision_use_head": False})
    assert bare.global_pool == "none"


@pytest.mark.parametrize("model", ["clip", "siglip"])
def test_labels_are_those_of_the_whole(model: str) -> None:
    name = {"clip": "CLIP", "siglip": "Siglip"}[model] + "ForImageClassification"
    names = {"0": "a", "1": "b", "2": "c"}
    found = whole(model, name, vision=JUNK, id2label=names)
    assert found == alone(model, name, id2label=names)
    assert found.labels == ("a", "b", "c") and found.global_pool == "avg"


def test_an_older_section_takes_the_place_of_the_newer() -> None:
    found = whole("clip", "CLIPModel", vision_config_dict={**SIZE, "hidden_size": 48})
    assert found.embed_dim == 48
    assert whole("clip", "CLIPModel", vision_config_dict=None).embed_dim == 24


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"architectures": ["CLIPTextModel"]}, "architectures: found"),
        ({"vision_config": 3}, "vision_config: found 3"),
        ({"hidden_size": 24}, "hidden_size: not a field of Hugging Face clip"),
        ({"vision": {"head_count": 2}}, "head_count: not a field"),
    ],
)
def test_every_field_is_answered_for(fields: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        whole("clip", **{"architecture": "CLIPModel", **fields})
