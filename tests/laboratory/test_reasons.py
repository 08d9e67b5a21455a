"""What is known of each step's mistakes, held against the torch twin itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from converters.parity.faults import BASES, base_model
from converters.parity.reasons import TRIED, explained
from converters.parity.reasons.common import Step
from converters.workers.parts import INPUT, parts
from tests.fill import image
from vit_config import ViTConfig

torch = pytest.importorskip("torch")

from converters.workers.torch_runner import TorchRunner  # noqa: E402
from torch_vit import ViT  # noqa: E402

bases = pytest.mark.parametrize("base", BASES)


def runner(base: str, dtype: str = "float32", **changes: Any) -> TorchRunner:
    """The torch twin of a base under another config that has the same weights."""
    model = base_model(base)
    twin = ViT(model.config.replace(**changes), device="meta")
    state = {name: torch.from_numpy(v.copy()) for name, v in model.tensors.items()}
    twin.load_state_dict({k: state[k] for k in twin.state_dict()}, assign=True)
    return TorchRunner(twin.eval().to(getattr(torch, dtype)))


def inputs(config: ViTConfig) -> np.ndarray:
    return image((3, config.in_chans, *config.img_size))


def fed(base: str) -> dict[str, np.ndarray]:
    """Every tap of the right model, and its input."""
    x = inputs(BASES[base])
    return {INPUT: x, **dict(runner(base).taps(x))}


def reason(base: str, tap: str, given: np.ndarray, taps: dict[str, np.ndarray]) -> Any:
    config = BASES[base]
    (part,) = (part for part in parts(config) if part.name == tap)
    sources = [taps[source] for source in part.sources]
    return explained(tap, config, given, sources, base_model(base).tensors.__getitem__)


@bases
def test_what_is_right_is_computed_as_the_twin_does_and_has_no_reason(base):
    config, taps = BASES[base], fed(base)
    exact = runner(base, "float64")
    weights = base_model(base).tensors
    for part in parts(config):
        sources = [taps[source].astype(np.float64) for source in part.sources]
        wanted = exact.step(part, sources)
        name = part.name.split(".", 2)[2] if part.name[:3] == "blo" else part.name
        if name not in TRIED:
            assert name in ("attn.maps", "ls1", "ls2"), name
            continue
        step = Step(
            part.name,
            config,
            sources,
            wanted,
            lambda weight: weights[weight].astype(np.float64),
        )
        right = [values for why, values in TRIED[name](step) if why is None]
        assert len(right) == 1, part.name
        np.testing.assert_allclose(right[0], wanted, rtol=0, atol=2e-10)
        assert reason(base, part.name, taps[part.name], taps) is None, part.name


def mistakes() -> Iterator[Any]:
    """A config that is wrong in one field, where it shows, in which model."""
    plane, features = "2D classification", "2D features"
    volume, tokens = "3D classification", "3D features"
    for base in BASES:
        for eps in (1e-3, 3e-5):
            tap = "blocks.1.norm1"
            yield base, {"norm_eps": eps}, tap, {"norm_eps"}, f"norm_eps = {eps:g}"
    yield features, {"fc_norm_eps": 1e-3}, "fc_norm", {"fc_norm_eps"}, "0.001"
    yield plane, {"num_heads": 6}, "blocks.0.attn.heads", {"num_heads"}, "6"
    yield volume, {"head_act": None}, "head", {"head_act"}, "no tanh"
    yield volume, {"global_pool": "avg"}, "pool", {"global_pool"}, "'avg'"
    changed = {"pool_include_prefix": True}
    yield features, changed, "pool", {"pool_include_prefix"}, "all tokens"
    yield volume, {"proj_bias": False}, "blocks.2.attn.proj", {"proj_bias"}, "no bias"
    for act in ("gelu_tanh", "quick_gelu", "relu"):
        yield volume, {"act_layer": act}, "blocks.0.mlp.act", {"act_layer"}, act
    yield features, {"qk_norm": False}, "blocks.0.attn.heads", {"qk_norm"}, "norms"
    yield tokens, {"patch_norm": "none"}, "patch_embed", {"patch_norm"}, "no norm"


@pytest.mark.parametrize(
    ("base", "changes", "tap", "fields", "words"), list(mistakes())
)
def test_a_wrong_field_is_named_with_its_value(base, changes, tap, fields, words):
    taps = fed(base)
    config = BASES[base]
    (part,) = (part for part in parts(config) if part.name == tap)
    if changes == {"patch_norm": "none"}:  # the norm after the projection left out
        wrong = runner(base)
        wrong.model.patch_embed.norm = torch.nn.Identity()
    else:
        wrong = runner(base, **changes)
    given = wrong.step(part, [taps[source] for source in part.sources])
    found = reason(base, tap, given, taps)
    assert found is not None
    assert set(found.fields) == fields and not found.tensors
    assert words in found.words


@bases
def test_a_scale_of_the_scores_is_measured(base):
    """sqrt(1.5) of queries and keys each: the scores are 1.5 times what they were."""
    tap, taps = "blocks.1.attn.heads", fed(base)
    wrong = runner(base)
    (part,) = (part for part in parts(BASES[base]) if part.name == tap)
    split = wrong.model.blocks[1].attn.split_heads
    root = 1.5**0.5
    wrong.model.blocks[1].attn.split_heads = lambda qkv: tuple(
        x * factor for x, factor in zip(split(qkv), (root, root, 1), strict=True)
    )
    found = reason(base, tap, wrong.step(part, [taps[part.sources[0]]]), taps)
    assert found.fields == ("head_dim",)
    assert "multiplied by 1.5 " in found.words


@bases
def test_inputs_turned_round_and_patches_in_another_order_are_told_apart(base):
    taps, right = fed(base), runner(base)
    (part,) = (part for part in parts(BASES[base]) if part.name == "patch_embed")
    for axis in range(BASES[base].spatial_dims):
        given = right.step(part, [np.flip(taps[INPUT], 2 + axis).copy()])
        found = reason(base, "patch_embed", given, taps)
        assert found.fields == ("data.axes", "data.orientation")
        assert found.words == f"an input turned round along {axis}"
    found = reason(base, "patch_embed", taps["patch_embed"][:, ::-1], taps)
    assert found.fields == ("img_size", "patch_size")


@bases
def test_a_residual_without_one_of_its_summands(base):
    taps = fed(base)
    (part,) = (p for p in parts(BASES[base]) if p.name == "blocks.1.residual2")
    around, branch = (taps[source] for source in part.sources)
    for given, words in ((branch, "left out"), (around, "no blocks.1.mlp")):
        found = reason(base, part.name, given, taps)
        assert words in found.words
        assert found.tensors and all("blocks.1." in name for name in found.tensors)
    noise = image(branch.shape, 7)
    near = branch + np.float32(1e-3) * noise
    assert reason(base, part.name, near, taps) is None, "near is not the same"
    assert reason(base, part.name, around + noise, taps) is None


def test_dropout_that_was_left_on_is_seen_in_a_residual():
    base = "2D classification"
    taps = fed(base)
    (part,) = (p for p in parts(BASES[base]) if p.name == "blocks.1.residual1")
    around, branch = (taps[source] for source in part.sources)
    kept = image(branch.shape, 3) > -0.8
    given = around + branch * kept / np.float32(0.9)
    found = reason(base, part.name, given, taps)
    assert found.words == "dropout left on"
    assert found.fields == ("proj_drop_rate",)


@pytest.mark.parametrize("base", ["2D classification", "2D features"])
def test_positions_of_other_tokens_and_other_tokens_are_told_apart(base):
    taps, model = fed(base), base_model(base)
    right = taps["pos_embed"]
    (part,) = (part for part in parts(model.config) if part.name == "pos_embed")
    table = model.tensors["pos_embed"]
    wrong = runner(base)
    wrong.model.pos_embed.data = torch.from_numpy(np.roll(table, 1, axis=1).copy())
    found = reason(base, "pos_embed", wrong.step(part, [taps["patch_embed"]]), taps)
    assert found.tensors == ("pos_embed",)
    wrong.model.pos_embed = None
    found = reason(base, "pos_embed", wrong.step(part, [taps["patch_embed"]]), taps)
    assert (found.words, found.tensors) == ("no positions", ("pos_embed",))
    exchanged = right.copy()
    exchanged[:, [0, 1]] = right[:, [1, 0]]
    found = reason(base, "pos_embed", exchanged, taps)
    assert set(found.tensors) <= {"cls_token", "dist_token", "reg_token"}
    assert "cls_token" in found.tensors and len(found.tensors) == 2
