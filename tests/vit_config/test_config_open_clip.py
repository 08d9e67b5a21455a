"""open_clip's config: every field counts, is known not to matter, or is refused."""

from __future__ import annotations

from typing import Any

import pytest

from vit_config import ConfigError, ViTConfig

TOWER = {"image_size": 32, "layers": 2, "width": 48, "head_width": 16, "patch_size": 8}


def config(tower: dict[str, Any], model: Any = None, **file: Any) -> ViTConfig:
    fields = {"embed_dim": 20, "vision_cfg": {**TOWER, **tower}, "text_cfg": {}}
    fields |= model or {}
    given = {"model_cfg": fields, **file} if file else fields
    return ViTConfig.from_dialect("openai_clip", given)


def timm(**fields: Any) -> ViTConfig:
    tower = {"timm_model_name": "vit_tiny_patch16_224", "image_size": 224, **fields}
    width = 192 if fields.get("timm_proj") == "none" else 20
    given = {"embed_dim": width, "vision_cfg": tower}
    return ViTConfig.from_dialect("openai_clip", given)


@pytest.mark.parametrize(
    ("tower", "model", "field", "value"),
    [
        ({}, {}, "num_heads", 3),
        ({"head_width": 12}, {}, "num_heads", 4),
        ({"layers": 3}, {}, "depth", 3),
        ({"width": 32}, {}, "embed_dim", 32),
        ({}, {}, "mlp_dim", 192),
        ({"mlp_ratio": 2.55}, {}, "mlp_dim", 122),  # cut off, not rounded
        ({"patch_size": 16}, {}, "patch_size", (16, 16)),
        ({"image_size": [32, 48]}, {}, "img_size", (32, 48)),
        ({"ls_init_value": 1e-4}, {}, "init_values", 1e-4),
        ({}, {}, "act_layer", "gelu"),
        ({}, {"quick_gelu": True}, "act_layer", "quick_gelu"),
        ({"act_kwargs": {"approximate": "tanh"}}, {}, "act_layer", "gelu_tanh"),
        ({}, {"embed_dim": 7}, "num_classes", 7),
        ({}, {}, "head_bias", False),
        ({}, {}, "norm_eps", 1e-5),
        ({}, {}, "global_pool", "token"),
        ({"final_ln_after_pool": True}, {}, "global_pool", "token"),
    ],
)
def test_field_that_counts(
    tower: dict[str, Any], model: dict[str, Any], field: str, value: Any
) -> None:
    assert getattr(config(tower, model), field) == value


def test_clipa_pools_before_its_norm_and_has_none_at_the_start() -> None:
    layout = {"no_ln_pre": True, "final_ln_after_pool": True, "pool_type": "avg"}
    found = config(layout)
    assert (found.pre_norm, found.final_norm, found.fc_norm) == (False, False, True)
    assert found.global_pool == "avg" and not found.pool_include_prefix


@pytest.mark.parametrize(
    ("tower", "model", "text"),
    [
        ({"attentional_pool": True}, {}, "attentional_pool: found True"),
        ({"attentional_pool": "parallel"}, {}, "attentional_pool"),
        ({"no_ln_pre": True}, {}, "no_ln_pre True.*CLIPA's"),
        ({"pool_type": "avg"}, {}, "pool_type 'avg'.*CLIPA's"),
        ({"pool_type": "none"}, {}, "pool_type: found 'none'"),
        ({"qk_norm": True}, {}, "qk_norm: found True"),
        ({"scaled_cosine_attn": True}, {}, "scaled_cosine_attn"),
        ({"scale_heads": True}, {}, "scale_heads"),
        ({"scale_attn_inner": True}, {}, "scale_attn_inner"),
        ({"scale_attn": True}, {}, "scale_attn:"),
        ({"scale_fc": True}, {}, "scale_fc"),
        ({"block_type": "custom"}, {}, "block_type"),
        ({"layers": [3, 4, 6, 3]}, {}, "layers: found"),
        ({"head_width": 9}, {}, "head_width: found 9"),
        ({"norm_kwargs": {"eps": 1e-6}}, {}, "norm_kwargs"),
        ({"act_kwargs": {"approximate": "tanh"}}, {"quick_gelu": True}, "act_kwargs"),
        ({"act_kwargs": {"inplace": True}}, {}, "act_kwargs"),
        ({"field_of_next_year": 1}, {}, "field_of_next_year: not a field"),
        ({}, {"field_of_next_year": 1}, "field_of_next_year: not a field"),
        ({}, {"multimodal_cfg": {}}, "multimodal_cfg"),
        ({}, {"embed_dim": None}, "embed_dim: found None"),
    ],
)
def test_field_that_the_schema_cannot_hold(
    tower: dict[str, Any], model: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        config(tower, model)


@pytest.mark.parametrize(
    "fields",
    [
        {"patch_dropout": 0.5},
        {"pos_embed_type": "sin_cos_2d"},
        {"output_tokens": True},
        {"attn_pooler_queries": 1},
    ],
)
def test_field_that_does_not_matter(fields: dict[str, Any]) -> None:
    assert config(fields) == config({})


@pytest.mark.parametrize(
    ("fields", "pool", "fc_norm", "classes", "bias"),
    [
        # the projection behind a model that was made as usual
        ({"timm_pool": "token", "timm_proj": "linear"}, "token", False, 20, False),
        ({"timm_pool": "", "timm_proj": "linear"}, "token", False, 20, False),
        ({"timm_pool": "avg", "timm_proj": "linear"}, "avg", False, 20, False),
        ({"timm_proj_bias": True}, "avg", False, 20, True),
        # a model that was made with this pooling
        ({"timm_pool": "avg", "timm_proj": "none"}, "avg", True, 0, True),
        ({"timm_pool": "map", "timm_proj": "none"}, "map", False, 0, True),
        ({"timm_pool": "token", "timm_proj": None}, "token", False, 20, True),
    ],
)
def test_tower_of_timm(
    fields: dict[str, Any], pool: str, fc_norm: bool, classes: int, bias: bool
) -> None:
    found = timm(**fields)
    assert (found.global_pool, found.num_classes) == (pool, classes)
    assert found.fc_norm == fc_norm and found.head_bias == bias
    assert found.embed_dim == 192 and found.norm_eps == 1e-6


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"timm_pool": "map", "timm_proj": "linear"}, "timm_pool: found 'map'"),
        ({"timm_pool": "abs_attn"}, "timm_pool: found 'abs_attn'"),
        ({"timm_proj": "mlp"}, "timm_proj: found 'mlp'"),
        ({"image_size": 256}, r"image_size: found \(256, 256\).*\(224, 224\)"),
        ({"timm_model_name": "convnext_base"}, "ConvNeXt, which is not a plain ViT"),
        ({"timm_model_name": "no_such"}, "no_such"),
    ],
)
def test_tower_of_timm_that_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        timm(**fields)


def test_pixels_that_no_patch_covers_are_a_step() -> None:
    name = "vit_so400m_patch14_siglip_384"
    tower = {"timm_model_name": name, "image_size": 384, "timm_pool": "map"}
    given = {"embed_dim": 1152, "vision_cfg": {**tower, "timm_proj": "none"}}
    found = ViTConfig.from_dialect("openai_clip", given)
    assert found.img_size == (378, 378) and found.source is not None
    assert found.source.steps == ("crop_input:384x384->378x378",)


def test_preprocessing_that_is_not_said_is_openais() -> None:
    data = config({}, preprocess_cfg={}).data
    assert data is not None and data.mean == (0.48145466, 0.4578275, 0.40821073)
    assert data.std == (0.26862954, 0.26130258, 0.27577711)
    assert (data.interpolation, data.crop_mode, data.crop_pct) == (
        *("bicubic", "center"),
        1.0,
    )
    assert data.input_range == (0.0, 1.0)
    assert config({}).data is None  # a model's config alone says nothing of images


def test_preprocessing_that_is_said() -> None:
    said = {"mean": 0.5, "std": [0.1, 0.2, 0.3], "interpolation": "bilinear"}
    data = config({}, preprocess_cfg={**said, "resize_mode": "squash", "size": 9}).data
    assert data is not None and data.mean == (0.5, 0.5, 0.5)
    assert data.std == (0.1, 0.2, 0.3)
    assert (data.interpolation, data.crop_mode) == ("bilinear", "squash")


@pytest.mark.parametrize(
    ("tower", "said"),
    [({}, {"resize_mode": "longest"}), ({"image_size": [32, 48]}, {})],
)
def test_crop_that_the_schema_lacks_is_left_open(
    tower: dict[str, Any], said: dict[str, Any]
) -> None:
    data = config(tower, preprocess_cfg=said).data
    assert data is not None and data.crop_mode is None and data.crop_pct is None


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"mode": "L"}, "mode: found 'L'"),
        ({"interpolation": "nearest"}, "interpolation"),
        ({"field_of_next_year": 1}, "field_of_next_year"),
        ({"mean": [0.5]}, "mean: found"),
    ],
)
def test_preprocessing_that_is_refused(said: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        config({}, preprocess_cfg=said)
