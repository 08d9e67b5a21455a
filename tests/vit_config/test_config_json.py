"""`ViTConfig` stored as JSON and read again."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from vit_config import (
    ConfigError,
    DataConfig,
    IntensityConfig,
    RopeConfig,
    SourceConfig,
    ViTConfig,
)

BASE: dict[str, Any] = {
    "img_size": (48, 32),
    "patch_size": (8, 16),
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 36,
}


def config(**changes: Any) -> ViTConfig:
    return ViTConfig(**{**BASE, **changes})


def sizes(axes: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(1, 5)] * axes)


@st.composite
def configs(draw: st.DrawFn) -> ViTConfig:
    """Valid configurations, every field but `norm_layer` and `schema_version` drawn."""
    axes = draw(st.sampled_from([2, 3]))
    patch, grid = draw(sizes(axes)), draw(sizes(axes))
    head_dim = draw(st.none() | st.integers(1, 9))
    heads, channels = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    class_token = draw(st.booleans())
    classes = draw(st.integers(0, 4))
    pools = ["avg", "max", "map"] + ["token", "token_avg"] * class_token
    pool = draw(st.sampled_from(pools + ["none"] * (classes == 0)))
    pooled = pool != "none"
    dist_token = class_token and draw(st.booleans())
    distilled = dist_token and pool == "token" and draw(st.booleans())
    swiglu = pool != "map" and draw(st.booleans())
    acts = ["gelu", "gelu_tanh", "quick_gelu", "silu", "relu"]
    fc_norm = pooled and draw(st.booleans())
    tanh = classes > 0 and draw(st.booleans())
    problems = ["regression", "single_label", "multi_label"]
    rate = st.floats(0, 1, exclude_max=True)
    eps = st.floats(1e-12, 1)
    value = st.floats(allow_nan=False, allow_infinity=False)
    ends = draw(st.none() | st.tuples(value, value))
    inside = value if ends is None or axes == 3 else st.floats(min(ends), max(ends))
    values = st.none() | st.tuples(*[inside] * channels)
    above = st.floats(0, exclude_min=True, allow_infinity=False)
    deviations = st.none() | st.tuples(*[above] * channels)
    maybe_text = st.none() | st.text(max_size=5)
    maybe = st.sampled_from([None, True, False])
    volumes = {
        "spacing_mm": st.none() | st.tuples(*[st.floats(1e-3, 1e3)] * axes),
        "spacing_mode": st.sampled_from([None, "bilinear", "nearest"]),
        "fit": st.sampled_from([None, "pad_or_crop"]),
        "fit_first": maybe,
        "pad_value": st.none() | value,
    }
    data = st.builds(
        DataConfig,
        mean=values,
        std=deviations,
        input_range=st.just(ends),
        interpolation=st.sampled_from([None, "bicubic"]),
        crop_pct=st.none() | st.floats(0, 1, exclude_min=True),
        axes=st.none() | st.tuples(*[st.text(max_size=3)] * axes),
        orientation=st.sampled_from([None, "RAS", "SPL"]),
        intensity=st.none()
        | st.builds(
            IntensityConfig,
            kind=st.sampled_from(["window", "percentile"]),
            low=st.none() | st.floats(0, 1),
            high=st.none() | st.floats(2, 100),
            clip=maybe,
        )
        | st.builds(
            IntensityConfig, kind=st.just("zscore"), nonzero=maybe, channel_wise=maybe
        ),
        **volumes if axes == 3 else {},
    )
    source = st.builds(
        SourceConfig,
        dialect=maybe_text,
        name=maybe_text,
        steps=st.lists(st.text(max_size=3), max_size=2).map(tuple),
    )
    rope = st.builds(
        RopeConfig,
        kind=st.sampled_from(["dinov3", "vjepa2"]),
        theta=st.floats(1e-3, 1e6),
    )
    names = st.tuples(*[st.text(max_size=4)] * classes)
    return ViTConfig(
        spatial_dims=axes,
        img_size=tuple(p * g for p, g in zip(patch, grid, strict=True)),
        patch_size=patch,
        in_chans=channels,
        embed_dim=heads * draw(st.integers(1, 8)),
        depth=draw(st.integers(1, 5)),
        num_heads=heads,
        head_dim=head_dim,
        mlp_dim=draw(st.integers(1, 99)),
        patch_bias=draw(st.booleans()),
        patch_norm=draw(st.sampled_from(["none", "post", "dual"])),
        pre_norm=draw(st.booleans()),
        class_token=class_token,
        dist_token=dist_token,
        reg_tokens=draw(st.integers(0, 4)),
        pos_embed=draw(st.sampled_from(["learned", "sincos", "none"])),
        pos_embed_tokens=draw(
            st.sampled_from(["all", "patch"] + ["cls"] * class_token)
        ),
        pos_resize=draw(st.sampled_from([None, "bicubic", "zoom1"])),
        rope=draw(st.none() | rope),
        norm_eps=draw(eps),
        qkv_bias=draw(st.sampled_from([True, False, "qv"])),
        proj_bias=draw(st.booleans()),
        mlp_bias=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        init_values=draw(st.none() | value),
        act_layer="silu" if swiglu else draw(st.sampled_from(acts)),
        mlp_layer="swiglu" if swiglu else "mlp",
        final_norm=draw(st.booleans()),
        fc_norm=fc_norm,
        fc_norm_eps=draw(st.none() | eps) if fc_norm else None,
        global_pool=pool,
        pool_include_prefix=pool not in ("token", "none") and draw(st.booleans()),
        distilled=distilled,
        representation_size=draw(st.sampled_from([None, 7]))
        if pooled and not distilled
        else None,
        num_classes=classes,
        head_bias=draw(st.booleans()),
        head_act="tanh" if tanh else None,
        drop_rate=draw(rate),
        pos_drop_rate=draw(rate),
        proj_drop_rate=draw(rate),
        attn_drop_rate=draw(rate),
        drop_path_rate=draw(rate),
        weight_init=draw(st.sampled_from(["timm", "jax", "mae", "monai"])),
        problem_type=draw(st.none() | st.sampled_from(problems)) if classes else None,
        data=draw(st.none() | data),
        labels=draw(st.none() | names),
        source=draw(st.none() | source),
    )


@given(configs())
def test_json_round_trip(model: ViTConfig) -> None:
    text = model.to_json()
    again = ViTConfig.from_json(text)
    assert again == model
    assert again.to_json() == text
    assert ViTConfig.from_json(text.encode()) == model
    assert ViTConfig.from_dict(model.to_dict()) == model
    assert again.architecture_hash() == model.architecture_hash()


@given(configs())
def test_json_is_canonical(model: ViTConfig) -> None:
    text = model.to_json()
    fields = json.loads(text)
    assert set(fields) == set(ViTConfig.model_fields)
    assert text == json.dumps(fields, sort_keys=True, separators=(",", ":"))


@given(configs())
def test_derived_values_agree(model: ViTConfig) -> None:
    assert model.num_tokens == model.num_prefix_tokens + math.prod(model.grid_size)
    assert model.num_pos_tokens in (
        0,
        model.num_patches,
        model.num_patches + int(model.class_token),
        model.num_tokens,
    )
    assert len(model.drop_path_rates) == model.depth
    assert model.replace() == model


def test_number_spelled_otherwise_gives_the_same_bytes() -> None:
    assert config(init_values=1).to_json() == config(init_values=1.0).to_json()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"depth": 1, "depth": 2}', "the key 'depth' stands twice"),
        ('{"data": {"mean": [1], "mean": [2]}}', "the key 'mean' stands twice"),
        ('{"norm_eps": NaN}', "NaN is not a number"),
        ('{"norm_eps": -Infinity}', "-Infinity is not a number"),
        ("[1]", "a JSON list, not an object"),
        ("null", "a JSON NoneType, not an object"),
        ("{", "not JSON"),
        ("", "not JSON"),
        (b"\xff", "not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        ('{"depth": ' + "1" * 5000 + "}", "not JSON"),
    ],
)
def test_json_that_is_refused(text: str | bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ViTConfig.from_json(text)
    (line,) = caught.value.problems
    assert line.startswith(said)


def test_json_number_too_large_for_a_float_is_refused() -> None:
    text = config().to_json().replace('"norm_eps":1e-06', '"norm_eps":1e999')
    with pytest.raises(ConfigError, match="norm_eps: found inf"):
        ViTConfig.from_json(text)


def test_newer_json_is_refused() -> None:
    fields = {**config().to_dict(), "schema_version": 2, "new_field": 1}
    with pytest.raises(ConfigError, match="newer vit-duet"):
        ViTConfig.from_json(json.dumps(fields))
