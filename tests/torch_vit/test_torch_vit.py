"""Laws of the PyTorch twin by itself."""

from __future__ import annotations

import copy
import math
import shutil

import pytest

pytest.importorskip("torch")

import torch

from tests.cases import CASES, FLAT
from tests.fill import fill_weights, image
from torch_vit import ViT
from vit_config import ConfigError, ViTConfig
from vit_config.weights import weight_table


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Models this small only lose by sharing work, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def filled(config: ViTConfig, **options) -> ViT:
    model = ViT(config, **options).eval()
    model.load_state_dict(
        {name: torch.from_numpy(v) for name, v in fill_weights(config).items()}
    )
    return model


def inputs(config: ViTConfig, batch: int = 3, seed: int = 0):
    return torch.from_numpy(image((batch, config.in_chans, *config.img_size), seed))


def gradients(model, x):
    model.zero_grad()
    x = x.clone().requires_grad_()
    y = model(x)
    y.backward(torch.from_numpy(image(tuple(y.shape), 7)))
    found = {name: p.grad for name, p in model.named_parameters()}
    return {**found, "input": x.grad}


# ---- the state dict ---------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_state_dict_is_the_canonical_table(case):
    config = CASES[case]
    state = ViT(config, device="meta").state_dict()
    table = [(weight.name, weight.shape) for weight in weight_table(config)]
    assert [(name, tuple(value.shape)) for name, value in state.items()] == table


@pytest.mark.parametrize("case", ["all_prefixes", "sincos", "map", "features_3d"])
def test_trainable_is_what_the_table_says(case):
    config = CASES[case]
    model = ViT(config, device="meta")
    assert not list(model.buffers())
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {w.name for w in weight_table(config) if w.trainable}


@pytest.mark.parametrize("case", ["vit", "map_prefix", "tanh_3d"])
def test_meta_construction_then_assign(case):
    config = CASES[case]
    weights = {n: torch.from_numpy(v) for n, v in fill_weights(config).items()}
    model = ViT(config, device="meta").eval()
    assert all(p.is_meta for p in model.parameters())
    model.load_state_dict(weights, assign=True)
    x = inputs(config)
    assert torch.equal(model(x), filled(config)(x))
    assert all(
        p.data_ptr() == weights[n].data_ptr() for n, p in model.named_parameters()
    )


def test_a_wrong_state_dict_is_refused():
    config = CASES["vit"]
    weights = {n: torch.from_numpy(v) for n, v in fill_weights(config).items()}
    del weights["cls_token"]
    with pytest.raises(RuntimeError, match="cls_token"):
        ViT(config).load_state_dict(weights)


@pytest.mark.parametrize("case", ["vit", "map"])
def test_deepcopy_is_equal_and_apart(case):
    model = filled(CASES[case])
    twin = copy.deepcopy(model)
    x = inputs(CASES[case])
    before = model(x)
    assert torch.equal(twin(x), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert torch.equal(model(x), before)
    assert not torch.equal(twin(x), before)


def test_rope_is_refused():
    config = CASES["vit"].replace(rope={"kind": "dinov3"})
    with pytest.raises(ConfigError, match="rope"):
        ViT(config)


# ---- programs ---------------------------------------------------------------------


@pytest.mark.parametrize("case", ["all_prefixes", "qv_bias", "map_3d"])
def test_compiled_without_a_break_gives_the_same(case):
    config = CASES[case]
    model, x = filled(config), inputs(config)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs g++")
@pytest.mark.parametrize("case", ["vit", "swiglu", "tanh_3d"])
def test_inductor_gives_the_same(case):
    config = CASES[case]
    model, x = filled(config), inputs(config)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ["all_prefixes", "tanh_3d", "raw_tokens"])
def test_exported_with_a_dynamic_batch_gives_the_same(case):
    config = CASES[case]
    model = filled(config)
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        model, (inputs(config, 2),), dynamic_shapes={"x": {0: batch}}
    )
    for count in (2, 5):
        x = inputs(config, count)
        with torch.no_grad():
            assert torch.equal(program.module()(x), model(x))


@pytest.mark.parametrize("case", ["vit", "dropout", "pooled_3d"])
def test_gradient_checkpointing_changes_no_gradient(case):
    config = CASES[case]
    model, x = filled(config).train(), inputs(config)
    found = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        torch.manual_seed(0)
        found.append(gradients(model, x))
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        assert torch.equal(gradient, found[1][name]), name


def test_gradient_checkpointing_recomputes():
    model, x = filled(CASES["deep"]).train(), inputs(CASES["deep"])
    calls = []
    model.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    gradients(model, x)
    assert len(calls) == 1
    model.set_grad_checkpointing()
    gradients(model, x)
    assert len(calls) == 3


# ---- types ------------------------------------------------------------------------


@pytest.mark.parametrize("attn_impl", ["fused", "explicit"])
@pytest.mark.parametrize(("dtype", "bits"), [("bfloat16", 8), ("float16", 11)])
@pytest.mark.parametrize("case", ["vit", "map", "qk_norm", "tanh_3d"])
def test_half_precision_errs_by_its_own_rounding(case, dtype, bits, attn_impl):
    config = CASES[case]
    exact = filled(config)(inputs(config)).detach()
    half = filled(config, attn_impl=attn_impl).to(getattr(torch, dtype))
    y = half(inputs(config).to(half.head.weight.dtype)).detach()
    assert y.dtype == getattr(torch, dtype)
    assert y.isfinite().all()
    error = (y.float() - exact).abs().max() / exact.abs().max()
    assert error < 8 * 2.0**-bits


def test_dtype_argument_is_the_type_of_the_weights():
    model = ViT(CASES["vit"], dtype=torch.float64)
    assert {p.dtype for p in model.parameters()} == {torch.float64}


# ---- attention --------------------------------------------------------------------


@pytest.mark.parametrize("case", ["vit", "qk_norm", "head_dim", "avg_3d"])
def test_fused_and_explicit_agree_up_to_rounding(case):
    config = CASES[case]
    model, x = filled(config), inputs(config)
    with torch.no_grad():
        fused = model(x)
        model.set_attn_impl("explicit")
        torch.testing.assert_close(model(x), fused, rtol=1e-5, atol=1e-5)


def test_unknown_attention_is_refused():
    with pytest.raises(ValueError, match="'flash'"):
        ViT(CASES["vit"]).set_attn_impl("flash")
    with pytest.raises(ValueError, match="'explicit'"):
        ViT(CASES["vit"], attn_impl="slow")


@pytest.mark.parametrize("case", ["all_prefixes", "features_3d"])
def test_attention_maps_are_those_that_are_used(case):
    config = CASES[case]
    model, x = filled(config, attn_impl="explicit"), inputs(config)
    with torch.no_grad():
        maps = model.attention_maps(x)
        _, taps = model.forward_taps(x)
        assert torch.equal(model.attention_maps(x, [-1])[0], maps[-1])
    shape = (3, config.num_heads, config.num_tokens, config.num_tokens)
    for i, weights in enumerate(maps):
        assert tuple(weights.shape) == shape
        ones = torch.ones(shape[:-1])
        torch.testing.assert_close(weights.sum(-1), ones, rtol=0, atol=1e-5)
        assert torch.equal(weights, taps[f"blocks.{i}.attn.maps"])


def test_query_value_bias_leaves_the_keys_alone():
    """The stored key part is neither used nor trained."""
    config = CASES["qv_bias"]
    model, x = filled(config), inputs(config)
    keys = slice(config.attn_dim, 2 * config.attn_dim)
    with torch.no_grad():
        before = model(x)
        for block in model.blocks:
            block.attn.qkv.bias[keys] = 100.0
        assert torch.equal(model(x), before)
    found = gradients(model, x)
    for i in range(config.depth):
        gradient = found[f"blocks.{i}.attn.qkv.bias"]
        assert not gradient[keys].any()
        assert gradient[: keys.start].all()
        assert gradient[keys.stop :].all()


# ---- inputs and outputs -----------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "shape"),
    [
        ("vit", (1, 3, 32, 48)),  # axes exchanged
        ("vit", (1, 48, 32, 3)),  # channels last
        ("vit", (1, 1, 48, 32)),
        ("vit", (3, 48, 32)),
        ("vit", (1, 3, 48, 32, 16)),
        ("vit_3d", (1, 1, 24, 32, 16)),
        ("vit_3d", (1, 32, 24, 16)),
    ],
)
def test_another_input_shape_is_refused(case, shape):
    config = CASES[case]
    wanted = ", ".join(map(str, (config.in_chans, *config.img_size)))
    with pytest.raises(ValueError, match=wanted) as caught:
        filled(config)(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("case", CASES)
def test_output_is_decided_by_classes_and_pooling(case):
    config = CASES[case]
    model, x = filled(config), inputs(config, 2)
    with torch.no_grad():
        y = model(x)
        tokens = model.forward_features(x)
        assert tuple(tokens.shape) == (2, config.num_tokens, config.embed_dim)
        if config.global_pool == "none":
            assert torch.equal(y, tokens)
            with pytest.raises(ValueError, match="pool"):
                model.forward_head(tokens)
            return
        width = config.num_classes or config.head_in_dim
        assert tuple(y.shape) == (2, width)
        assert torch.equal(model.forward_head(tokens), y)
        pooled = model.forward_head(tokens, pre_logits=True)
        assert tuple(pooled.shape) == (2, config.head_in_dim)
        if config.head_act == "tanh":
            assert y.abs().max() < 1


@pytest.mark.parametrize(
    ("indices", "blocks"),
    [
        (None, [0, 1, 2, 3, 4]),
        (2, [3, 4]),
        ([0, 3], [0, 3]),
        ([-1, 0], [4, 0]),
        ((1, 1), [1, 1]),
        ([], []),
    ],
)
def test_indices_choose_blocks(indices, blocks):
    model, x = filled(CASES["deep"]), inputs(CASES["deep"])
    with torch.no_grad():
        every = model.forward_intermediates(x)
        found = model.forward_intermediates(x, indices)
        maps = model.attention_maps(x)
        found_maps = model.attention_maps(x, indices)
    assert len(found) == len(found_maps) == len(blocks)
    for i, block in enumerate(blocks):
        assert torch.equal(found[i], every[block])
        assert torch.equal(found_maps[i], maps[block])


@pytest.mark.parametrize("indices", [0, 6, -1, [5], [-6, 0]])
def test_indices_outside_the_model_are_refused(indices):
    model = filled(CASES["deep"])
    with pytest.raises(ValueError, match="5"):
        model.forward_intermediates(inputs(CASES["deep"]), indices)


@pytest.mark.parametrize("case", ["all_prefixes", "features_3d", "registers_3d"])
def test_intermediates_in_every_form(case):
    config = CASES[case]
    model, x = filled(config), inputs(config)
    batch, dim = len(x), config.embed_dim
    with torch.no_grad():
        maps = model.forward_intermediates(x, return_prefix_tokens=True)
        flat = model.forward_intermediates(x, reshape=False)
        normed = model.forward_intermediates(
            x, [-1], norm=True, reshape=False, return_prefix_tokens=True
        )
        _, hidden = model.monai_forward(x)
        features = model.forward_features(x)
    for (patches, prefix), tokens, whole in zip(maps, flat, hidden, strict=True):
        assert tuple(patches.shape) == (batch, dim, *config.grid_size)
        assert tuple(prefix.shape) == (batch, config.num_prefix_tokens, dim)
        assert torch.equal(patches.flatten(2).transpose(1, 2), tokens)
        assert torch.equal(torch.cat([prefix, tokens], 1), whole)
    patches, prefix = normed[0]
    assert torch.equal(torch.cat([prefix, patches], 1), features)


@pytest.mark.parametrize("case", ["vit", "tokens", "features_3d", "tanh_3d"])
def test_monai_forward_gives_output_and_all_blocks(case):
    config = CASES[case]
    model, x = filled(config), inputs(config)
    with torch.no_grad():
        output, hidden = model.monai_forward(x)
        assert torch.equal(output, model(x))
    assert len(hidden) == config.depth


def test_taps_are_asked_for_and_complete():
    model, x = filled(CASES["layer_scale"]), inputs(CASES["layer_scale"])
    with torch.no_grad():
        y, taps = model.forward_taps(x)
        assert torch.equal(y, model(x))
    block = ["norm1", "attn.qkv", "attn.heads", "attn.proj", "ls1", "residual1"]
    block += ["norm2", "mlp.fc1", "mlp.act", "mlp.fc2", "ls2", "residual2"]
    wanted = ["patch_embed", "pos_embed"]
    wanted += [f"blocks.{i}.{name}" for i in range(2) for name in block]
    assert list(taps) == [*wanted, "norm", "pool", "head"]


# ---- training ---------------------------------------------------------------------

RATES = {
    "drop_rate": ["head_drop"],
    "pos_drop_rate": ["pos_drop"],
    "proj_drop_rate": [
        *("blocks.1.attn.proj_drop", "blocks.1.mlp.drop1", "blocks.1.mlp.drop2")
    ],
    "attn_drop_rate": ["blocks.1.attn.attn_drop"],
}
DROPPING = [(rate, place) for rate, places in RATES.items() for place in places]


@pytest.mark.parametrize(("rate", "place"), DROPPING)
def test_dropout_drops_its_share_and_scales_the_rest(rate, place):
    config = ViTConfig(**{**FLAT, rate: 0.25})
    model = filled(config).train()
    seen = []
    module = model.get_submodule(place)
    module.register_forward_hook(lambda _, x, y: seen.append((x[0], y)))
    torch.manual_seed(0)
    model(inputs(config, 64))
    ((x, y),) = seen
    dropped = y == 0
    sigma = math.sqrt(0.25 * 0.75 / x.numel())
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=5 * sigma)
    torch.testing.assert_close(y[~dropped], x[~dropped] / 0.75)


@pytest.mark.parametrize("rate", [*RATES, "drop_path_rate"])
def test_dropout_is_off_in_evaluation(rate):
    config = ViTConfig(**{**FLAT, rate: 0.5})
    x = inputs(config)
    plain, model = filled(CASES["vit"]), filled(config)
    with torch.no_grad():
        assert torch.equal(model(x), plain(x))
        model.train()
        torch.manual_seed(0)
        first, second = model(x), model(x)
    assert not torch.equal(first, second)


def test_every_rate_has_its_test():
    rates = {field for field in ViTConfig.model_fields if field.endswith("_rate")}
    assert rates == {*RATES, "drop_path_rate"}


def test_stochastic_depth_drops_whole_samples():
    config = ViTConfig(**{**FLAT, "depth": 3, "drop_path_rate": 0.4})
    model = filled(config).train()
    assert [block.drop_path1.rate for block in model.blocks] == [0.0, 0.2, 0.4]
    assert [block.drop_path2.rate for block in model.blocks] == [0.0, 0.2, 0.4]
    torch.manual_seed(0)
    x = torch.from_numpy(image((4000, 3, 2), 1))
    drop = model.blocks[2].drop_path1
    y = drop(x)
    gone = (y == 0).all(dim=(1, 2))
    assert gone.float().mean().item() == pytest.approx(0.4, abs=0.04)
    torch.testing.assert_close(y[~gone], x[~gone] / 0.6)
    assert torch.equal(drop.eval()(x), x)


def test_stochastic_depth_is_drawn_for_each_branch():
    config = ViTConfig(**{**FLAT, "depth": 2, "drop_path_rate": 0.5})
    block = filled(config).train().blocks[1]
    torch.manual_seed(0)
    x = torch.from_numpy(image((64, 13, 24), 1))
    with torch.no_grad():
        _, taps = block(x, return_taps=True)
        attention = (taps["residual1"] == x).all(dim=(1, 2))
        mlp = (taps["residual2"] == taps["residual1"]).all(dim=(1, 2))
    pairs = {(a, m) for a, m in zip(attention.tolist(), mlp.tolist(), strict=True)}
    assert len(pairs) == 4


def test_attention_dropout_takes_the_explicit_path_in_training_only():
    config = ViTConfig(**{**FLAT, "attn_drop_rate": 0.5})
    model, x = filled(config), inputs(config)
    assert not any("maps" in name for name in model.forward_taps(x)[1])
    assert any("maps" in name for name in model.train().forward_taps(x)[1])
