"""Laws of every dialect: nothing unread, nothing guessed, all problems at once."""

from __future__ import annotations

from typing import Any

import pytest

from converters.libraries.config import DIALECTS, from_dialect
from converters.libraries.config_fields import REQUIRED, Spec
from converters.libraries.huggingface import config as huggingface
from converters.libraries.huggingface.config_models import MODELS
from converters.libraries.lucidrains import config as lucidrains
from converters.libraries.monai import config as monai
from converters.libraries.timm import config as timm
from converters.libraries.torchvision import config as torchvision
from vit_config import ConfigError, ViTConfig

# The least each library needs, and a value of every field that changes the model.
MONAI = {"in_channels": 1, "img_size": 32, "patch_size": 8, "classification": True}
MONAI_OTHER: dict[str, Any] = {
    "in_channels": 2,
    "img_size": 48,
    "patch_size": 16,
    "hidden_size": 96,
    "mlp_dim": 0,
    "num_layers": 3,
    "num_heads": 6,
    "pos_embed_type": "fourier",
    "classification": False,
    "num_classes": 3,
    "dropout_rate": 0.1,
    "spatial_dims": 2,
    "post_activation": None,
    "qkv_bias": True,
}
TORCHVISION = {
    "image_size": 32,
    "patch_size": 8,
    "num_layers": 2,
    "num_heads": 3,
    "hidden_dim": 24,
    "mlp_dim": 36,
}
TORCHVISION_OTHER: dict[str, Any] = {
    "image_size": 48,
    "patch_size": 16,
    "num_layers": 3,
    "num_heads": 4,
    "hidden_dim": 48,
    "mlp_dim": 48,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "num_classes": 3,
    "representation_size": 20,
    "norm_layer": type("LayerNorm", (), {"__module__": "torch.nn"}),
}
TIMM_OTHER: dict[str, Any] = {
    "img_size": 48,
    "patch_size": 32,
    "in_chans": 1,
    "num_classes": 3,
    "global_pool": "avg",
    "embed_dim": 96,
    "depth": 3,
    "num_heads": 6,
    "mlp_ratio": 3,
    "qkv_bias": False,
    "qk_norm": True,
    "proj_bias": False,
    "init_values": 1e-5,
    "class_token": False,
    "pos_embed": "none",
    "no_embed_class": True,
    "reg_tokens": 4,
    "pre_norm": True,
    "final_norm": False,
    "fc_norm": True,
    "pool_include_prefix": True,
    "drop_rate": 0.1,
    "pos_drop_rate": 0.1,
    "proj_drop_rate": 0.1,
    "attn_drop_rate": 0.1,
    "drop_path_rate": 0.1,
    "weight_init": "jax",
    "embed_norm_layer": "layernorm",
    "norm_layer": type("LayerNorm", (), {"__module__": "torch.nn"}),
    "act_layer": "relu",
    "mlp_layer": "SwiGLU",
    "class": "VisionTransformerDistilled",
}
PLANE = {"image_size": 32, "patch_size": 8}
VOLUME = {
    "image_size": 32,
    "image_patch_size": 8,
    "frames": 4,
    "frame_patch_size": 2,
}
LUCID = {"num_classes": 3, "dim": 24, "depth": 2, "heads": 3, "mlp_dim": 36}
LUCID_OTHER: dict[str, Any] = {
    "image_size": 48,
    "patch_size": 16,
    "image_patch_size": 16,
    "frames": 8,
    "frame_patch_size": 4,
    "num_classes": 4,
    "dim": 48,
    "depth": 3,
    "heads": 4,
    "mlp_dim": 48,
    "channels": 1,
    "dim_head": 10,
    "pool": "mean",
    "dropout": 0.1,
    "emb_dropout": 0.1,
    "version": "0.40.2",
}
HF_OTHER: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "intermediate_size": 48,
    "num_channels": 1,
    "image_size": 448,
    "patch_size": 56,
    "num_labels": 5,
    "id2label": {"0": "a", "1": "b", "2": "c"},
    "problem_type": "regression",
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "attention_dropout": 0.1,
    "layer_norm_eps": 1e-3,
    "qkv_bias": False,
    "qv_bias": False,
    "head_dim": 10,
    "mlp_ratio": 3,
    "layerscale_value": 0.5,
    "drop_path_rate": 0.1,
    "use_swiglu_ffn": True,
    "num_register_tokens": 2,
    "projection_dim": 20,
    "vision_use_head": False,
    "num_frames": 8,
    "use_mean_pooling": False,
}


def lucid(name: str) -> dict[str, Any]:
    size = VOLUME if "3d" in name else PLANE
    return {"class": name, **size, **LUCID}


def hugging(model_type: str, architecture: str) -> dict[str, Any]:
    return {"model_type": model_type, "architectures": [architecture]}


# (dialect, spec, variants of the least fields, fields that never change the model)
CASES: dict[str, tuple[str, Spec, list[dict[str, Any]], dict[str, Any], set[str]]] = {
    # The two names of the projection: one function, another layout of the file.
    "monai": ("monai", monai.SPEC, [MONAI], MONAI_OTHER, {"proj_type", "pos_embed"}),
    "torchvision": (
        "torchvision",
        torchvision.SPEC,
        [TORCHVISION],
        TORCHVISION_OTHER,
        set(),
    ),
    "timm": (
        "timm",
        timm.SPEC,
        [{}, {"global_pool": "avg"}],
        TIMM_OTHER,
        set(),
    ),
    **{
        name: ("lucidrains", spec, [lucid(name)], LUCID_OTHER, {"class"})
        for name, spec in lucidrains.SPECS.items()
    },
    **{
        name: (
            "huggingface",
            huggingface.spec_of(name),
            [hugging(name, architecture) for architecture in model.outputs],
            {
                **HF_OTHER,
                "tubelet_size": [4, 16, 16] if name == "vivit" else 4,
            },
            {"model_type", "architectures"},
        )
        for name, model in MODELS.items()
    },
}
# An encoder without classes: these say nothing about it.
CASES["vit_mae"][4].update({"num_labels", "id2label", "problem_type"})

every_case = pytest.mark.parametrize("case", CASES)


def outcome(dialect: str, fields: dict[str, Any]) -> Any:
    try:
        return from_dialect(dialect, fields)
    except ConfigError as error:
        return error.problems


def problems(dialect: str, fields: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        from_dialect(dialect, fields)
    return caught.value.problems


def test_dialects() -> None:
    # Fields in several files, or in sections of one, have tests of their own:
    # tests/dialects/test_keras_hub.py, test_config_open_clip.py.
    nested = {"keras_hub", "openai_clip"}
    assert set(DIALECTS) - nested == {case[0] for case in CASES.values()}


@every_case
def test_least_fields_make_a_model(case: str) -> None:
    dialect, _, variants, _, _ = CASES[case]
    for fields in variants:
        assert isinstance(ViTConfig.from_dialect(dialect, fields), ViTConfig)


@every_case
def test_every_field_is_read(case: str) -> None:
    """Another value changes the result (or is refused) in at least one variant."""
    dialect, spec, variants, other, silent = CASES[case]
    for name in set(spec.take) - silent:
        assert name in other, f"no other value of {name}"
        changed = [
            outcome(dialect, {**fields, name: other[name]}) != outcome(dialect, fields)
            for fields in variants
        ]
        assert any(changed), name


@every_case
def test_stated_defaults_change_nothing(case: str) -> None:
    dialect, spec, variants, _, _ = CASES[case]
    defaults = {k: t.default for k, t in spec.take.items() if t.default is not REQUIRED}
    for fields in variants:
        assert from_dialect(dialect, {**defaults, **fields}) == from_dialect(
            dialect, fields
        )


@every_case
def test_ignored_fields_change_nothing(case: str) -> None:
    dialect, spec, variants, _, _ = CASES[case]
    fields = variants[0]
    noise = dict.fromkeys(spec.ignored, object())
    assert from_dialect(dialect, {**fields, **noise}) == from_dialect(dialect, fields)
    assert all(spec.ignored.values())


@every_case
def test_fields_with_one_value(case: str) -> None:
    dialect, spec, variants, _, _ = CASES[case]
    fields = variants[0]
    for name, same in spec.same.items():
        for value in same.allowed:
            stated = from_dialect(dialect, {**fields, name: value})
            assert stated == from_dialect(dialect, fields)
        (line,) = problems(dialect, {**fields, name: "another"})
        assert line.startswith(f"{name}: found 'another'")
        assert same.why in line


@every_case
def test_wrong_kind_of_value_is_refused_by_name(case: str) -> None:
    """A value that no field can have, put into each one."""
    dialect, spec, variants, _, _ = CASES[case]
    chooses = {"class", "model_type", "post_activation"}
    for name in set(spec.take) - chooses:
        (line,) = problems(dialect, {**variants[0], name: -0.5j})
        assert line.startswith(f"{name}: found"), name


@every_case
def test_unknown_field_is_refused_by_name(case: str) -> None:
    dialect, spec, variants, _, _ = CASES[case]
    known = next(name for name in spec.take if len(name) > 5)
    extra = {**variants[0], f"{known}x": 1, "zzz": 2, "mlp_layer_norm": 3}
    lines = problems(dialect, extra)
    assert [line.partition(":")[0] for line in lines] == [
        f"{known}x",
        "zzz",
        "mlp_layer_norm",
    ]
    assert f"did you mean {known!r}" in lines[0]


@every_case
def test_missing_and_wrong_fields_are_reported_together(case: str) -> None:
    dialect, spec, variants, _, _ = CASES[case]
    chooses = {"class", "model_type", "architectures"}
    kept = {k: v for k, v in variants[0].items() if k in chooses}
    required = [name for name, take in spec.take.items() if take.default is REQUIRED]
    missing = [name for name in required if name not in kept]
    lines = problems(dialect, {**kept, "zzz": 1})
    assert [line.partition(":")[0] for line in lines] == [*missing, "zzz"]
    assert all("required" in line for line in lines[:-1])


@every_case
def test_wrong_values_are_reported_together(case: str) -> None:
    dialect, spec, variants, _, _ = CASES[case]
    chooses = {"class", "model_type", "post_activation"}
    names = [name for name in spec.take if name not in chooses]
    lines = problems(dialect, {**variants[0], **dict.fromkeys(names, -0.5j)})
    assert [line.partition(":")[0] for line in lines] == names


def test_schema_name_in_a_dialect_is_explained() -> None:
    (line,) = problems("monai", {**MONAI, "embed_dim": 24})
    assert line.startswith("embed_dim: not a field of MONAI ViT")
    assert "this schema's own name" in line


def test_unknown_dialect_lists_the_known_ones() -> None:
    (line,) = problems("keras", {})
    assert all(repr(name) in line for name in ("keras", *DIALECTS))
    with pytest.raises(ConfigError, match="dialect: found"):
        ViTConfig.from_dialect("keras", {})


def test_fields_must_be_a_mapping() -> None:
    (line,) = problems("timm", [("depth", 2)])  # type: ignore[arg-type]
    assert line == "fields: found a list; a mapping of names"


def test_schema_problems_come_through() -> None:
    with pytest.raises(ConfigError, match="num_heads: 5 does not divide"):
        ViTConfig.from_dialect("timm", {"num_heads": 5})
