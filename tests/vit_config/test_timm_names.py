"""timm's architecture names against what timm itself recorded, and against timm live.

`timm_shapes.json` is made by `tools/make_timm_names.py --check` with timm's own models.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from converters.libraries.timm import config_names as timm_names
from vit_config import ConfigError, ViTConfig
from vit_config.weights import weight_table

RECORD = json.loads((Path(__file__).parent / "timm_shapes.json").read_text("utf-8"))
SHAPES: dict[str, str] = RECORD["shapes"]
SAVED: list[dict[str, Any]] = RECORD["saved"]
ACTS = {"GELU": "gelu", "QuickGELU": "quick_gelu", "GELUTanh": "gelu_tanh"}


def digest(config: ViTConfig) -> str:
    """As the tool makes it of timm's state dict."""
    shapes = sorted((w.name, list(w.shape)) for w in weight_table(config))
    text = "\n".join(f"{name} {shape}" for name, shape in shapes)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def named(architecture: str, **changes: Any) -> ViTConfig:
    fields = {"architecture": architecture, **changes}
    return ViTConfig.from_dialect("timm", fields)


def problems(fields: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        ViTConfig.from_dialect("timm", fields)
    return "\n".join(caught.value.problems)


def test_every_name_has_the_tensors_that_timm_makes() -> None:
    found = {}
    for full in SHAPES:
        try:
            found[full] = digest(named(full))
        except ConfigError as error:
            # A reason that names an argument or field, not merely a name not known.
            assert not error.problems[0].startswith("architecture"), full
            found[full] = "refused"
    assert found == SHAPES
    refused = sum(value == "refused" for value in SHAPES.values())
    assert len(SHAPES) - refused >= 300


def test_record_and_table_are_of_one_version_and_all_names() -> None:
    assert RECORD["versions"] == timm_names.table()["versions"]
    fulls = {
        f"{name}.{tag}" if tag else name
        for name in timm_names.names()
        for tag in timm_names.tags(name)
    }
    assert fulls == set(SHAPES)


def test_what_only_the_name_says_comes_from_the_table() -> None:
    plain = named("vit_base_patch16_clip_224.openai")
    quick = named("vit_base_patch16_clip_quickgelu_224.openai")
    assert (plain.act_layer, quick.act_layer) == ("gelu", "quick_gelu")
    assert quick.norm_eps == 1e-5 and quick.pre_norm and not quick.patch_bias
    gap = named("vit_medium_patch16_gap_240")
    assert (gap.global_pool, gap.fc_norm, gap.class_token) == ("avg", False, False)
    reg = named("vit_small_patch14_reg4_dinov2")
    assert (reg.reg_tokens, reg.pos_embed_tokens, reg.img_size) == (
        4,
        "patch",
        (518, 518),
    )
    giant = named("vit_giant_patch14_dinov2")
    assert (giant.mlp_layer, giant.mlp_dim) == ("swiglu", 4096)
    distilled = named("deit_tiny_distilled_patch16_224")
    assert distilled.distilled and distilled.dist_token
    assert named("flexivit_small").pos_resize == "bilinear"
    assert named("vit_tiny_patch16_224").pos_resize == "bicubic_aa"


def test_tag_decides_classes_and_preprocessing() -> None:
    default = named("vit_base_patch16_224")
    assert default.num_classes == 1000 and default.data is not None
    assert default.data.mean == (0.5, 0.5, 0.5) and default.data.crop_pct == 0.9
    assert default.source is not None
    assert default.source.name == "vit_base_patch16_224"  # no tag was stated
    dino = named("vit_base_patch16_224.dino")
    assert dino.num_classes == 0 and dino.data is not None
    assert dino.data.mean == (0.485, 0.456, 0.406)
    assert dino.source is not None
    assert (dino.source.name, dino.source.licence) == (
        "vit_base_patch16_224.dino",
        "apache-2.0",
    )
    old = named("vit_base_patch16_224_in21k")
    assert old == named("vit_base_patch16_224.augreg_in21k")


def test_arguments_stand_above_the_name() -> None:
    found = named("vit_tiny_patch16_224", depth=3, num_classes=5, img_size=[96, 64])
    assert (found.depth, found.num_classes, found.img_size) == (3, 5, (96, 64))
    assert named("vit_tiny_patch16_224", global_pool="avg").fc_norm
    # A mean of three channels says nothing of one.
    gray = named("vit_tiny_patch16_224", in_chans=1)
    assert gray.data is not None and gray.data.mean is None


def test_part_of_the_image_that_no_patch_covers_is_left_out_and_said() -> None:
    found = named("vit_so400m_patch14_siglip_384")
    assert found.img_size == (378, 378) and found.source is not None
    assert found.source.steps == ("crop_input:384x384->378x378",)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"architecture": "resnet50"}, "'resnet50' is timm's ResNet"),
        (
            {"architecture": "swin_base_patch4_window7_224"},
            "is timm's SwinTransformer, which is not a plain ViT",
        ),
        ({"architecture": "vit_base_patch16_224.oops"}, "has no tag 'oops'"),
        ({"architecture": "vit_bas_patch16_224"}, "did you mean 'vit_base_patch16_224"),
        ({"architecture": 5}, "found 5; a string"),
        (
            {"architecture": "vit_base_patch16_rpn_224"},
            "block_fn: found 'ResPostBlock'; only 'Block'",
        ),
        ({"architecture": "test_vit4"}, "norm_layer: found 'rmsnorm'"),
        ({"architecture": "vit_small_r26_s32_224"}, "embed_layer: found 'HybridEmbed'"),
        ({"architecture": "vit_tiny_patch16_224", "depht": 3}, "depht: not a field"),
        (
            {"architecture": "vit_tiny_patch16_224", "features_only": True},
            "features_only: found True; only False",
        ),
    ],
)
def test_what_is_no_plain_vit_is_refused_by_name(
    fields: dict[str, Any], text: str
) -> None:
    assert text in problems(fields)


@pytest.mark.parametrize("entry", SAVED, ids=lambda e: e["config"]["architecture"])
def test_saved_config_is_read_as_timm_reads_it(entry: dict[str, Any]) -> None:
    found = ViTConfig.from_dialect("timm", entry["config"])
    assert digest(found) == entry["shapes"]
    assert found.global_pool == entry["pool"]
    assert found.norm_eps == entry["eps"]
    assert found.num_heads == entry["heads"]
    if found.mlp_layer == "mlp":
        assert found.act_layer == ACTS[entry["act"]]
    covered = [
        s // found.patch_size[0] * found.patch_size[0] for s in entry["img_size"]
    ]
    assert list(found.img_size) == covered
    assert found.data is not None
    assert {k: getattr(found.data, k) for k in entry["data"]} == {
        k: tuple(v) if isinstance(v, list) else v for k, v in entry["data"].items()
    }
    assert found.data.crop_mode == entry["crop_mode"]


def saved() -> dict[str, Any]:
    return copy.deepcopy(SAVED[1]["config"])


def test_every_field_of_a_saved_config_is_read_or_refused() -> None:
    config = saved()
    config["colour"] = "blue"
    assert "colour: not a field" in problems(config)
    config = saved()
    config["pretrained_cfg"]["colour"] = "blue"
    assert "pretrained_cfg.colour: not a field" in problems(config)
    config = saved()
    config["pretrained_cfg"]["label_offset"] = 1
    assert "label_offset: found 1; only 0" in problems(config)


def test_another_width_is_refused_with_the_argument_that_has_it() -> None:
    config = saved()
    config["num_features"] = 100
    text = problems(config)
    assert "num_features: found 100, but timm builds this config with 192" in text
    assert "add 'model_args': {'embed_dim': 100}" in text
    config["model_args"]["embed_dim"] = 100
    config["model_args"]["num_heads"] = 2
    assert ViTConfig.from_dialect("timm", config).embed_dim == 100
    config["model_args"] = {"num_features": 100}
    assert "did you mean 'embed_dim'?" in problems(config)
    named = {"architecture": "vit_tiny_patch16_224", "num_features": 100}
    assert "num_features: found 100, but timm builds" in problems(named)


def test_pooling_that_timm_would_not_build_is_refused_with_the_way_out() -> None:
    """Older versions saved a changed pooling where timm never reads it."""
    config = saved()
    del config["model_args"]["global_pool"]
    text = problems(config)
    assert "global_pool: found 'avg', but timm builds this config with 'token'" in text
    assert "add 'model_args': {'global_pool': 'avg'}" in text


def test_older_form_is_read() -> None:
    config = saved()
    older = {**config["pretrained_cfg"], "architecture": config["architecture"]}
    older |= {"num_features": 192, "labels": [f"class {i}" for i in range(7)]}
    found = ViTConfig.from_dialect("timm", older)
    assert found.num_classes == 7 and found.depth == 12
    assert found.labels == tuple(older["labels"])


def test_labels_must_be_as_many_as_classes() -> None:
    config = saved()
    config["label_names"] = {str(i): f"class {i}" for i in range(7)}
    found = ViTConfig.from_dialect("timm", config)
    assert found.labels == tuple(f"class {i}" for i in range(7))
    config["label_names"] = ["a", "b"]
    assert "label_names: 2 names for num_classes=7" in problems(config)


# ---- live -------------------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "vit_base_patch16_clip_quickgelu_224",
        "vit_base_patch16_siglip_224",
        "vit_medium_patch16_gap_240",
        "vit_small_patch14_reg4_dinov2",
        "vit_giant_patch14_reg4_dinov2",
        "deit3_small_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "vit_so400m_patch14_siglip_384",
        "vit_base_patch16_224.mae",
    ],
)
def test_outputs_are_those_of_timm(name: str) -> None:
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm", minversion="1.0.31")
    import torch_vit
    from tests.fill import fill_weights, image

    small = {"depth": 1, "embed_dim": 96, "num_heads": 2}
    config = named(name, **small)
    weights = fill_weights(config)
    state = {n: torch.from_numpy(v) for n, v in weights.items()}
    theirs = timm.create_model(name, **small).eval()
    theirs.load_state_dict(state, strict=True)
    ours = torch_vit.ViT(config).eval()
    ours.load_state_dict(state, strict=True)
    rows, columns = theirs.patch_embed.img_size
    x = torch.from_numpy(image((2, 3, rows, columns)))
    seen = x[..., : config.img_size[0], : config.img_size[1]]
    with torch.no_grad():
        expected, found = theirs(x), ours(seen)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_weights_are_on_the_hub_where_timm_has_them() -> None:
    timm = pytest.importorskip("timm")
    for full in SHAPES:
        tag = full.partition(".")[2]
        there = timm.models.get_pretrained_cfg(full).hf_hub_id if tag else None
        assert timm_names.hub_id(full) == (there or None), full
