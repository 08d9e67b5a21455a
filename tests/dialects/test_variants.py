"""The laws that every variant obeys, over many configs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from converters.errors import ConversionError
from converters.libraries import NAMES, find, load
from converters.libraries.assumptions import TOPICS
from converters.libraries.doubts import doubts
from converters.libraries.given import Given
from converters.libraries.infer import complete
from converters.libraries.recognise import matches
from converters.libraries.tensor_fields import seen
from converters.libraries.variant import renamed
from converters.mapping.pipe import MemorySource, Pipe
from converters.mapping.table import CANONICAL, ZERO, Row, Table, TableError
from converters.sources.dialect_reader import Foreign
from tests.dialects.common import MONAI
from tests.fill import fill_weights
from vit_config import ViTConfig

BASE = {
    "img_size": (12, 8),
    "patch_size": (4, 2),
    "embed_dim": 12,
    "depth": 4,
    "num_heads": 3,
    "mlp_dim": 20,
}
CLIP_3D = {
    **BASE,
    "spatial_dims": 3,
    "img_size": (4, 6, 8),
    "patch_size": (2, 3, 2),
    "embed_dim": 24,
}
CLIP = {**BASE, "pre_norm": True, "patch_bias": False, "norm_eps": 1e-5}
PATCHES = {"class_token": False, "global_pool": "none", "pos_embed": "sincos"}
QV = {"class_token": False, "qkv_bias": "qv", "pos_embed": "sincos"}
MEAN = {"global_pool": "avg", "num_classes": 3}
DUAL = {"patch_norm": "dual", "norm_eps": 1e-5, "qkv_bias": False, "head_dim": 5}
SINGLE = {**DUAL, "patch_norm": "none"}
LATE = {"final_norm": False, "fc_norm": True}
SIMPLE = {"class_token": False, "proj_bias": False, "pos_embed": "sincos"}
CONFIGS = {
    **MONAI,
    "vit": ViTConfig(**BASE, num_classes=3),
    "deit3": ViTConfig(**BASE, init_values=1.0, pos_embed_tokens="patch"),
    "dinov2": ViTConfig(**BASE, init_values=1.0, reg_tokens=2, pos_embed_tokens="cls"),
    "dinov2_g": ViTConfig(
        **BASE,
        init_values=1.0,
        pos_embed_tokens="cls",
        mlp_layer="swiglu",
        act_layer="silu",
    ),
    "clip": ViTConfig(**BASE, pre_norm=True, patch_bias=False, act_layer="quick_gelu"),
    "siglip": ViTConfig(**BASE, class_token=False, global_pool="map"),
    "deit": ViTConfig(**BASE, dist_token=True, distilled=True, num_classes=3),
    "deit_unread": ViTConfig(**BASE, dist_token=True, num_classes=3),
    "no_head": ViTConfig(**BASE, global_pool="none"),
    "patches": ViTConfig(**BASE, **PATCHES),
    "patches_mean": ViTConfig(
        **BASE, class_token=False, global_pool="avg", num_classes=3
    ),
    "pair": ViTConfig(**BASE, init_values=1.0, global_pool="token_avg", num_classes=3),
    "pair_registers": ViTConfig(
        **BASE,
        init_values=1.0,
        global_pool="token_avg",
        num_classes=3,
        reg_tokens=2,
        pos_embed_tokens="cls",
    ),
    "features": ViTConfig(**BASE, init_values=1.0, global_pool="none"),
    "clip_projection": ViTConfig(**CLIP, num_classes=3, head_bias=False),
    "clip_mean": ViTConfig(**CLIP, final_norm=False, global_pool="avg", num_classes=3),
    "siglip_projection": ViTConfig(
        **BASE, class_token=False, global_pool="map", num_classes=3, head_bias=False
    ),
    "torchvision": ViTConfig(**{**BASE, "img_size": 8, "patch_size": 4}, num_classes=3),
    "vivit": ViTConfig(**CLIP_3D, num_classes=3),
    "vjepa": ViTConfig(**CLIP_3D, **PATCHES),
    "3dino": ViTConfig(**CLIP_3D, init_values=1.0, pos_embed_tokens="cls"),
    "videomae": ViTConfig(
        **CLIP_3D, **QV, **MEAN, fc_norm=True, fc_norm_eps=1e-5, final_norm=False
    ),
    "videomae_own": ViTConfig(
        **CLIP_3D, **QV, **MEAN, fc_norm=True, final_norm=False, init_values=1.0
    ),
    "videomae_learned": ViTConfig(
        **CLIP_3D, **{**QV, "pos_embed": "learned"}, global_pool="none"
    ),
    "videomae_tokens": ViTConfig(**CLIP_3D, **QV, global_pool="none"),
    "videomae_unbiased": ViTConfig(
        **CLIP_3D, **{**QV, "qkv_bias": False}, global_pool="none"
    ),
    "videomae_mean_unbiased": ViTConfig(
        **CLIP_3D,
        **{**QV, "qkv_bias": False},
        **MEAN,
        fc_norm=True,
        fc_norm_eps=1e-5,
        final_norm=False,
    ),
    "lucidrains": ViTConfig(**BASE, **DUAL, num_classes=3),
    "lucidrains_mean": ViTConfig(**BASE, **DUAL, **MEAN, class_token=False),
    "lucidrains_3d": ViTConfig(
        **CLIP_3D,
        **DUAL,
        **MEAN,
        pool_include_prefix=True,
        final_norm=False,
        fc_norm=True,
    ),
    "clipa": ViTConfig(**{**CLIP, **LATE, **MEAN, "pre_norm": False}, head_bias=False),
    "lucidrains_1_0": ViTConfig(
        **BASE, **DUAL, final_norm=False, fc_norm=True, num_classes=3
    ),
    "lucidrains_1_4": ViTConfig(**BASE, **DUAL, **MEAN, pool_include_prefix=True),
    "lucidrains_1_16_0": ViTConfig(**BASE, **DUAL, **MEAN, class_token=False),
    "lucidrains_0": ViTConfig(**BASE, **SINGLE, **LATE, num_classes=3),
    "lucidrains_0_3d": ViTConfig(
        **CLIP_3D, **SINGLE, **LATE, **MEAN, pool_include_prefix=True
    ),
    "simple_0": ViTConfig(**BASE, **SINGLE, **LATE, **MEAN, **SIMPLE),
    "simple_0_3d": ViTConfig(**CLIP_3D, **SINGLE, **LATE, **MEAN, **SIMPLE),
    "simple_1_0_3d": ViTConfig(**CLIP_3D, **DUAL, **LATE, **MEAN, **SIMPLE),
    "simple": ViTConfig(**BASE, **DUAL, **MEAN, **SIMPLE),
    "simple_3d": ViTConfig(**CLIP_3D, **DUAL, **MEAN, **SIMPLE),
}
TOLD = {"facebook": "timm", "lucidrains": "lucidrains@simple_vit"}
VARIANTS = [v for name in NAMES for v in load(name).variants]
PAIRS = [
    pytest.param(variant, config, id=f"{variant.name}-{name}")
    for variant in VARIANTS
    for name, config in CONFIGS.items()
    if not variant.problems(config)
]


def test_every_variant_holds_some_config():
    held = {pair.values[0].name for pair in PAIRS}
    assert held == {v.name for v in VARIANTS if v.export}


@pytest.mark.parametrize("variant, config", PAIRS)
def test_there_and_back_is_bit_identical(variant, config):
    arrays = fill_weights(config)
    foreign = Foreign(MemorySource(arrays), config, variant)
    written = {name: foreign.read(name) for name in foreign.tensors}
    assert {n: v.shape for n, v in written.items()} == {
        n: t.shape for n, t in foreign.tensors.items()
    }
    assert not any(
        name in variant.fills(config) for name in variant.plan(config).source_shapes
    )
    back = Pipe(MemorySource(written), variant.plan(config))
    assert set(arrays) == set(CANONICAL.plan(config).target_shapes)
    for name in variant.computed(config):
        del arrays[name]
    assert set(back.tensors) == set(arrays)
    for name, values in arrays.items():
        assert back.read(name).tobytes() == values.tobytes()


@pytest.mark.parametrize("variant, config", PAIRS)
def test_names_prove_one_variant_only(variant, config):
    """Among all dialects there are, and behind a prefix, too."""
    names = variant.plan(config, "a.b.").source_shapes
    names |= {f"a.b.{name}": fill.shape for name, fill in variant.fills(config).items()}
    found = [match.variant.name for match in matches(names)]
    if variant.told:
        same = TOLD.get(variant.name.partition("@")[0])  # of the same names
        assert found == ([same] if same else [])
        found = [match.variant.name for match in matches(names, variant.name)]
    if variant.name.startswith("lucidrains@vit_3d"):
        # Names and shapes are the same: nothing is guessed.
        assert found == ["lucidrains@vit_3d", "lucidrains@vit_3d-1.5"]
        found = [match.variant.name for match in matches(names, variant.name)]
    if variant.name.startswith("monai@0.9"):
        assert found == [variant.name.replace("0.9", "1.0")]  # the same names
    else:
        assert found == [variant.name]


@pytest.mark.parametrize("variant, config", PAIRS)
def test_file_says_all_but_what_it_cannot(variant, config):
    shapes = variant.plan(config).source_shapes
    names = (
        "num_heads",
        "img_size",
        "norm_eps",
        "act_layer",
        "global_pool",
        "patch_size",
    )
    fields = {name: getattr(config, name) for name in names}
    answers = {"rope": None, "block": "plain"}
    says = seen(variant, shapes)
    fields |= {
        doubt.field: answers[doubt.field] for doubt in doubts(variant, says, shapes)
    }
    found = complete(variant, shapes, Given(changes=fields), "file")
    wanted = config.architecture()
    assert found.num_pos_tokens == config.num_pos_tokens
    for name, value in found.architecture().items():
        if name in ("pos_embed_tokens", "pos_resize", "weight_init", "init_values"):
            continue
        if name == "pos_embed" and not variant.computed(config):
            continue  # whether a stored table is frozen
        if name == "qkv_bias":
            assert bool(value) == bool(wanted[name])  # a part may be zero, yet stored
            continue
        assert value == wanted[name], name
    whole = complete(variant, shapes, Given(config), "file")
    assert whole.replace(source=config.source) == config


def questions(variant, config):
    """The fields that are asked for where the caller says nothing."""
    with pytest.raises(ConversionError) as caught:
        complete(variant, variant.plan(config).source_shapes, Given(), "file")
    return set(re.findall(r'"(\w+)":', caught.value.hint))


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.export])
def test_what_is_stated_to_be_asked_for_is_and_nothing_else(variant):
    """The page of assumptions against what reading does."""
    configs = [p.values[1] for p in PAIRS if p.values[0] is variant]
    asked = [questions(variant, config) for config in configs]
    for topic, assumption in variant.assumes.items():
        fields = set(TOPICS[topic][1])
        if assumption.proof == "asked":
            assert any(fields & each for each in asked), topic
    proofs = {field: set() for _, fields in TOPICS.values() for field in fields}
    for topic, assumption in variant.assumes.items():
        for field in TOPICS[topic][1]:
            proofs[field].add(assumption.proof)
    for field, proof in proofs.items():
        if not proof & {"asked", "tensors or asked"}:
            assert not any(field in each for each in asked), field


@pytest.mark.parametrize("variant, config", PAIRS)
def test_drops_are_no_weights(variant, config):
    assert not set(variant.drops(config)) & set(variant.plan(config).source_shapes)
    assert set(variant.fills(config)) <= set(variant.drops(config))
    assert all(variant.drops(config).values())


@settings(max_examples=40, deadline=None)
@given(
    dims=st.sampled_from([2, 3]),
    patch=st.tuples(*[st.integers(1, 4)] * 3),
    chans=st.integers(1, 4),
    width=st.integers(1, 3),
    bias=st.booleans(),
    classes=st.integers(0, 3),
    perceptron=st.booleans(),
)
def test_any_monai_config_there_and_back(
    dims, patch, chans, width, bias, classes, perceptron
):
    config = ViTConfig.from_dialect(
        "monai",
        {
            "spatial_dims": dims,
            "in_channels": chans,
            "img_size": [2 * p for p in patch[:dims]],
            "patch_size": patch[:dims],
            "hidden_size": 3 * width,
            "mlp_dim": 5,
            "num_layers": 2,
            "num_heads": 3,
            "qkv_bias": bias,
            "classification": classes > 0,
            "num_classes": classes or 2,
        },
    )
    spec = "monai@1.6+perceptron" if perceptron else "monai@1.6"
    variant = find(spec)[1][0]
    arrays = fill_weights(config)
    foreign = Foreign(MemorySource(arrays), config, variant)
    kernel = arrays["patch_embed.proj.weight"]
    if perceptron:
        rows = foreign.read("patch_embedding.patch_embeddings.1.weight")
        wanted = np.moveaxis(kernel, 1, -1).reshape(len(kernel), -1)
        assert np.array_equal(rows, wanted)
    for name, values in arrays.items():
        assert (
            Pipe(foreign, variant.plan(config)).read(name).tobytes() == values.tobytes()
        )


# ---- releases and registry -------------------------------------------------------


@pytest.mark.parametrize(
    "spec, names",
    {
        "monai@1.6.1": ["monai@1.6", "monai@1.6+perceptron"],
        "monai@1.3": ["monai@1.0", "monai@1.0+perceptron"],
        "monai@1.5.2+perceptron": ["monai@1.4+perceptron"],
        "monai@0.8.1": ["monai@0.7", "monai@0.7+perceptron"],
        "monai@2.0": ["monai@1.6", "monai@1.6+perceptron"],
        "monai@mae": ["monai@mae"],
        "timm": ["timm", "timm@swiglu"],
    }.items(),
)
def test_releases(spec, names):
    assert [variant.name for variant in find(spec)[1]] == names


@pytest.mark.parametrize("spec", ["monai@0.6", "monai@x", "monay", "timm@4", "", "@"])
def test_unknown_releases_and_names(spec):
    with pytest.raises(ConversionError, match=r"there is no dialect|has no"):
        find(spec)


def test_every_name_loads_and_stands_in_front_of_its_variants():
    for name in NAMES:
        dialect = load(name)
        assert dialect.name == name
        for variant in dialect.variants:
            assert variant.name.partition("@")[0] == name
            assert not variant.signature & variant.absent


# ---- what tables are made of ------------------------------------------------------


def test_zero_part_is_read_as_zeros_and_not_written():
    row = Row(("q", ZERO, "v"), ("blocks.0.attn.qkv.bias",), "s (h e) -> (s h e)")
    plan = Table("zero", (row,)).plan(CONFIGS["vit"])
    assert list(plan.source_shapes) == ["q", "v"]
    arrays = {name: np.full(12, n, np.float32) for n, name in enumerate("qv", 1)}
    merged = Pipe(MemorySource(arrays), plan)
    assert list(merged.read("blocks.0.attn.qkv.bias")) == [1] * 12 + [0] * 12 + [2] * 12
    back = Pipe(merged, plan.inverse())
    assert list(back.tensors) == ["q", "v"]
    assert all(back.read(n).tobytes() == v.tobytes() for n, v in arrays.items())


@pytest.mark.parametrize(
    "row",
    [
        Row((ZERO,), ("a",), "d -> d"),
        Row((ZERO, ZERO), ("a",), "t d -> (t d)"),
        Row(("b", ZERO), ("a", ZERO), "t d -> t d"),
    ],
)
def test_zero_may_not_be_all_there_is(row):
    with pytest.raises(TableError, match="ZERO"):
        Table("zero", (row,))


def test_renamed_refuses_a_name_that_is_nobody_s():
    with pytest.raises(ValueError, match=r"called blocks\.\{i\}\.norm3"):
        renamed({"blocks.{i}.norm3": "x"})


def test_renamed_takes_the_longest_name_and_cuts_at_dots():
    rows = renamed({"norm": "n", "blocks.{i}.norm1": "b.{i}.x", "head": None})
    names = {row.targets[0]: row.sources[0] for row in rows}
    assert names == {
        "blocks.{i}.norm1.weight": "b.{i}.x.weight",
        "blocks.{i}.norm1.bias": "b.{i}.x.bias",
        "norm.weight": "n.weight",
        "norm.bias": "n.bias",
    }
