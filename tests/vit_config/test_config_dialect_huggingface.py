"""What Hugging Face configurations mean, as read from transformers 5.23.0."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from converters.libraries.huggingface.config_models import MODELS
from vit_config import ConfigError, ViTConfig


def read(dialect: str, **fields: Any) -> ViTConfig:
    return ViTConfig.from_dialect(dialect, fields)


def hugging(architecture: str, **fields: Any) -> ViTConfig:
    (kind,) = [name for name, model in MODELS.items() if architecture in model.outputs]
    return read("huggingface", model_type=kind, architectures=[architecture], **fields)


def refusal(dialect: str, **fields: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(dialect, **fields)
    return "\n".join(caught.value.problems)


def holds(model: ViTConfig, **expected: Any) -> None:
    assert {name: getattr(model, name) for name in expected} == expected


HF: dict[str, dict[str, Any]] = {
    "ViTModel": {"norm_eps": 1e-12, "global_pool": "none", "num_classes": 0},
    "ViTForImageClassification": {"global_pool": "token", "num_classes": 2},
    "ViTForMaskedImageModeling": {"global_pool": "none", "pos_resize": "bicubic"},
    "DeiTModel": {"dist_token": True, "norm_eps": 1e-12, "num_classes": 0},
    "DeiTForImageClassification": {"dist_token": True, "distilled": False},
    "DeiTForImageClassificationWithTeacher": {"dist_token": True, "distilled": True},
    "Dinov2Model": {
        "patch_size": (14, 14),
        "norm_eps": 1e-6,
        "init_values": 1.0,
        "mlp_dim": 3072,
        "global_pool": "none",
    },
    "Dinov2ForImageClassification": {"global_pool": "token_avg", "head_in_dim": 1536},
    "Dinov2WithRegistersModel": {
        "patch_size": (16, 16),
        "reg_tokens": 4,
        "pos_embed_tokens": "cls",
        "pos_resize": "bicubic_aa",
    },
    "CLIPVisionModel": {
        "patch_size": (32, 32),
        "patch_bias": False,
        "pre_norm": True,
        "act_layer": "quick_gelu",
        "norm_eps": 1e-5,
        "global_pool": "token",
        "num_classes": 0,
    },
    "CLIPVisionModelWithProjection": {"num_classes": 512, "head_bias": False},
    "CLIPForImageClassification": {
        "global_pool": "avg",
        "final_norm": False,
        "num_classes": 2,
    },
    "SiglipVisionModel": {
        "class_token": False,
        "act_layer": "gelu_tanh",
        "norm_eps": 1e-6,
        "global_pool": "map",
        "num_classes": 0,
    },
    "SiglipForImageClassification": {"global_pool": "avg", "num_classes": 2},
    "ViTMAEModel": {"pos_embed": "sincos", "norm_eps": 1e-12, "global_pool": "none"},
    "ViTMSNForImageClassification": {"norm_eps": 1e-6, "global_pool": "token"},
    "IJepaForImageClassification": {
        "class_token": False,
        "norm_eps": 1e-12,
        "global_pool": "avg",
    },
    "VideoMAEForVideoClassification": {
        "img_size": (16, 224, 224),
        "patch_size": (2, 16, 16),
        "class_token": False,
        "pos_embed": "sincos",
        "qkv_bias": "qv",
        "norm_eps": 1e-12,
        "final_norm": False,
        "fc_norm": True,
        "fc_norm_eps": 1e-5,
        "global_pool": "avg",
    },
    "VideoMAEModel": {"final_norm": False, "fc_norm": False, "global_pool": "none"},
    "VivitForVideoClassification": {
        "img_size": (32, 224, 224),
        "patch_size": (2, 16, 16),
        "class_token": True,
        "act_layer": "gelu_tanh",
        "norm_eps": 1e-6,
        "global_pool": "token",
    },
}


@pytest.mark.parametrize("architecture", HF)
def test_huggingface_class_defaults(architecture: str) -> None:
    holds(hugging(architecture), **HF[architecture])


def test_huggingface_needs_to_know_the_classes() -> None:
    line = refusal("huggingface", model_type="vit")
    assert line.startswith("architectures: found None; ['ViTModel'] or ")
    line = refusal("huggingface", model_type="vit", architectures=["ViTModel", "X"])
    assert line.startswith("architectures: found ['ViTModel', 'X']")
    line = refusal("huggingface", model_type="beit")
    assert line.startswith("model_type: found 'beit'; required, one of 'vit', ")
    line = refusal("huggingface", model_type="clip", vision_config={})
    assert line.startswith("architectures: found None; ['CLIPModel'] or ")


def test_huggingface_labels() -> None:
    classifier = functools.partial(hugging, "ViTForImageClassification")
    pets = {"1": "dog", "0": "cat"}
    holds(classifier(id2label=pets), num_classes=2, labels=("cat", "dog"))
    holds(classifier(id2label={0: "cat"}), num_classes=1, labels=("cat",))
    generic = {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
    holds(classifier(id2label=generic), num_classes=3, labels=None)
    holds(classifier(num_labels=7), num_classes=7, labels=None)
    holds(classifier(id2label={}), num_classes=0, labels=None, global_pool="token")
    holds(hugging("ViTModel", id2label=pets), num_classes=0, labels=None)


@pytest.mark.parametrize("wrong", [{"1": "a"}, {"0": 1}, {"a": "b"}, ["a"]])
def test_huggingface_labels_refused(wrong: Any) -> None:
    fields = {"model_type": "vit", "architectures": ["ViTModel"]}
    line = refusal("huggingface", **fields, id2label=wrong)
    assert line.startswith("id2label: found")


def test_huggingface_labels_must_agree() -> None:
    with pytest.raises(ConfigError, match="num_labels: 3, but id2label has 1 names"):
        hugging("ViTForImageClassification", num_labels=3, id2label={"0": "a"})


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("single_label_classification", "single_label"),
        ("multi_label_classification", "multi_label"),
        ("regression", "regression"),
        (None, None),
    ],
)
def test_huggingface_problem_type(theirs: str | None, ours: str | None) -> None:
    model = hugging("ViTForImageClassification", problem_type=theirs)
    holds(model, problem_type=ours)
    holds(hugging("ViTModel", problem_type=theirs), problem_type=None)


@pytest.mark.parametrize(
    ("width", "mlp_dim"), [(1536, 4096), (384, 1024), (24, 64), (100, 272)]
)
def test_dinov2_swiglu_width(width: int, mlp_dim: int) -> None:
    fields = {"hidden_size": width, "num_attention_heads": 4, "use_swiglu_ffn": True}
    holds(
        hugging("Dinov2Model", **fields),
        mlp_layer="swiglu",
        act_layer="silu",
        mlp_dim=mlp_dim,
    )


def test_dinov2_drop_path_is_refused() -> None:
    """One rate for all blocks there, growing from 0 here."""
    with pytest.raises(ConfigError, match=r"drop_path_rate: found 0\.1; 0: "):
        hugging("Dinov2Model", drop_path_rate=0.1)


def test_videomae_without_mean_pooling() -> None:
    """The classifier then reads the first patch; the encoder has its norm."""
    holds(hugging("VideoMAEModel", use_mean_pooling=False), final_norm=True)
    with pytest.raises(ConfigError, match="use_mean_pooling: False"):
        hugging("VideoMAEForVideoClassification", use_mean_pooling=False)


def test_videomae_large_has_no_divisible_width() -> None:
    model = hugging(
        "VideoMAEForVideoClassification",
        hidden_size=1024,
        num_attention_heads=16,
        num_hidden_layers=24,
        intermediate_size=4096,
    )
    holds(model, embed_dim=1024, pos_embed="sincos", num_pos_tokens=1568)


def test_siglip_without_its_head_gives_tokens() -> None:
    holds(hugging("SiglipVisionModel", vision_use_head=False), global_pool="none")


@pytest.mark.parametrize(
    ("architecture", "pos", "proj"),
    [
        ("ViTModel", 0.1, 0.1),
        ("ViTMAEModel", 0.0, 0.1),
        ("VideoMAEModel", 0.0, 0.1),
        ("Dinov2Model", 0.1, 0.0),
        ("VivitModel", 0.1, 0.1),
    ],
)
def test_huggingface_dropout(architecture: str, pos: float, proj: float) -> None:
    model = hugging(
        architecture, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.2
    )
    holds(model, pos_drop_rate=pos, proj_drop_rate=proj, attn_drop_rate=0.2)
