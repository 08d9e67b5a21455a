"""timm's names, held against what timm itself says (`keys/timm.json`)."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from converters.conversion.convert import convert
from converters.errors import ConversionError
from converters.libraries import find
from converters.libraries.recognise import matches
from converters.libraries.writing import target_variant
from converters.mapping.pipe import MemorySource
from converters.sources.dialect_reader import Foreign
from tests.dialects.common import digest, keys
from tests.fill import fill_weights
from vit_config import ConfigError, ViTConfig

MODELS = keys("timm")


def variant_of(config: ViTConfig, names):
    (match,) = matches(names)
    assert not match.variant.problems(config)
    return match.variant


@pytest.mark.parametrize("name", MODELS)
def test_table_gives_timm_s_own_tensors(name):
    model = MODELS[name]
    config = ViTConfig.from_dict(model["config"]["given"])
    theirs = model["generations"]["memory"]
    variant = variant_of(config, theirs)
    foreign = Foreign(MemorySource(fill_weights(config)), config, variant)
    found = {
        n: [list(t.shape), digest(foreign.read(n))] for n, t in foreign.tensors.items()
    }
    assert found == theirs


@pytest.mark.parametrize(
    "name", ["vit", "deit3", "distilled", "swiglu_split", "siglip"]
)
def test_timm_to_keras_and_back(name, tmp_path):
    config = ViTConfig.from_dict(MODELS[name]["config"]["given"])
    variant = variant_of(config, MODELS[name]["generations"]["memory"])
    foreign = Foreign(MemorySource(fill_weights(config)), config, variant)
    wanted = {n: foreign.read(n) for n in foreign.tensors}
    save_file(wanted, tmp_path / "model.safetensors")
    there = convert(
        tmp_path / "model.safetensors",
        tmp_path / "m.keras",
        config=config,
        from_dialect="timm",
    )
    assert there.source_dialect == variant.name
    assert not there.dropped
    convert(tmp_path / "m.keras", tmp_path / "back.safetensors", to_dialect="timm")
    back = load_file(tmp_path / "back.safetensors")
    assert {n: v.tobytes() for n, v in back.items()} == {
        n: v.tobytes() for n, v in wanted.items()
    }


BASE = ViTConfig.preset("vit-ti16-224", depth=1)


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"spatial_dims": 3, "img_size": 32, "patch_size": 16}, "spatial_dims"),
        ({"patch_norm": "dual"}, "patch_norm"),
        ({"head_dim": 32}, "head_dim"),
        ({"patch_bias": False}, "patch_bias"),
        ({"mlp_bias": False}, "mlp_bias"),
        ({"reg_tokens": 2, "pos_embed_tokens": "cls"}, "pos_embed_tokens"),
        ({"global_pool": "token_avg"}, "global_pool"),
        ({"representation_size": 5, "num_classes": 2}, "representation_size"),
        ({"head_act": "tanh", "num_classes": 2}, "head_act"),
        ({"dist_token": True}, "dist_token"),
    ],
)
def test_what_timm_cannot_hold(changes, field):
    with pytest.raises(ConversionError) as error:
        target_variant("timm", BASE.replace(**changes))
    assert field in str(error.value)
    assert "nothing is folded" in str(error.value)


def test_timm_arguments_beside_the_file(tmp_path):
    config = ViTConfig.from_dialect(
        "timm", {"depth": 1, "embed_dim": 192, "num_heads": 3}
    )
    path = tmp_path / "t.safetensors"
    save_file(fill_weights(config), path)
    arguments = {"depth": 1, "embed_dim": 192, "num_heads": 3}
    report = convert(path, tmp_path / "m.keras", config=arguments, from_dialect="timm")
    assert report.config.architecture() == config.architecture()
    with pytest.raises(ConfigError, match="qkv_bais"):
        convert(
            path,
            tmp_path / "n.keras",
            config={**arguments, "qkv_bais": True},
            from_dialect="timm",
        )


# ---- Facebook's files --------------------------------------------------------------


def facebook_names(config: ViTConfig, chunked: bool) -> dict:
    """By hand: DINOv2's own names."""
    found = {"mask_token": fill_weights(config)["cls_token"][0] * 0 + 3}
    per = config.depth // 4
    other = {"reg_token": "register_tokens"}
    if config.mlp_layer == "swiglu":
        other |= {"fc1": "w12", "fc2": "w3"}
    for name, values in fill_weights(config).items():
        parts = [other.get(part, part) for part in name.split(".")]
        if chunked and parts[0] == "blocks":
            parts.insert(1, str(int(parts[1]) // per))
        found[".".join(parts)] = values
    return found


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_dinov2(gated, chunked, tmp_path):
    fields = {"mlp_layer": "swiglu", "act_layer": "silu"} if gated else {}
    config = ViTConfig(
        img_size=8,
        patch_size=4,
        embed_dim=12,
        depth=8,
        num_heads=3,
        mlp_dim=20,
        init_values=1e-5,
        reg_tokens=2,
        pos_embed_tokens="cls",
        pos_resize="bicubic_aa",
        **fields,
    )
    named = facebook_names(config, chunked)
    path = tmp_path / "dino.safetensors"
    save_file({f"teacher.backbone.{n}": v for n, v in named.items()}, path)
    changes = {"num_heads": 3, "img_size": 8, "global_pool": "token"}
    report = convert(path, tmp_path / "m.keras", changes=changes)
    assert report.config.architecture() == config.architecture()
    assert list(report.dropped) == ["teacher.backbone.mask_token"]
    words = ["dinov2", *["swiglu"] * gated, *["chunked"] * chunked]
    assert report.source_dialect == f"facebook@{'+'.join(words)}"
    back = tmp_path / "b.safetensors"
    convert(tmp_path / "m.keras", back, to_dialect="facebook")
    named["mask_token"] = np.zeros((1, 12), np.float32)
    found = load_file(back)
    assert {n: v.tobytes() for n, v in found.items()} == {
        n: v.tobytes() for n, v in named.items()
    }


def test_release_of_timm_is_not_asked_for():
    assert find("timm")[1][0].name == "timm"
