"""Every tap as one step of earlier taps."""

from __future__ import annotations

import numpy as np
import pytest

from converters.workers.parts import INPUT, parts
from tests.cases import CASES
from tests.fill import fill_weights, image
from vit_config import ViTConfig
from vit_config.weights import weight_table

torch = pytest.importorskip("torch")

from converters.workers.torch_runner import TorchRunner  # noqa: E402
from torch_vit import ViT  # noqa: E402


def runner(config: ViTConfig, dtype: str = "float32") -> TorchRunner:
    """The torch twin, every weight filled."""
    model = ViT(config, device="meta")
    weights = {k: torch.from_numpy(v.copy()) for k, v in fill_weights(config).items()}
    model.load_state_dict(weights, assign=True)
    return TorchRunner(model.to(getattr(torch, dtype)))


def inputs(config: ViTConfig, count: int = 2) -> np.ndarray:
    return image((count, config.in_chans, *config.img_size))


@pytest.mark.parametrize("case", CASES)
def test_a_twin_fed_with_its_own_taps_gives_them_back(case):
    config = CASES[case]
    asked = runner(config)
    taps = dict(asked.taps(inputs(config)))
    given = {INPUT: inputs(config), **taps}
    assert [part.name for part in parts(config)] == list(taps)
    for part in parts(config):
        found = asked.step(part, [given[source] for source in part.sources])
        assert found.tobytes() == taps[part.name].tobytes(), part.name
        assert found.any(), part.name


@pytest.mark.parametrize("case", CASES)
def test_sources_come_before_and_nothing_is_left_out(case):
    """All but the last tap are taken by another one, so no step skips anything."""
    known = {INPUT}
    taken = set()
    for part in parts(CASES[case]):
        assert known.issuperset(part.sources), part.name
        known.add(part.name)
        taken.update(part.sources)
    assert known - taken == {parts(CASES[case])[-1].name}


@pytest.mark.parametrize("case", CASES)
def test_every_weight_is_used_by_one_part(case):
    config = CASES[case]
    for weight in weight_table(config):
        users = [part.name for part in parts(config) if part.uses(weight.name)]
        assert len(users) == 1, (weight.name, users)


def test_weights_are_used_where_the_table_says():
    """A weight that is changed changes the part that uses it, and no other one."""
    config = CASES["all_prefixes"]
    taps = {INPUT: inputs(config), **dict(runner(config).taps(inputs(config)))}
    for weight in weight_table(config):
        if weight.name.startswith("blocks.1."):
            continue
        asked = runner(config)
        with torch.no_grad():
            dict(asked.model.named_parameters())[weight.name].mul_(1.5)
        changed = [
            part.name
            for part in parts(config)
            if asked.step(part, [taps[s] for s in part.sources]).tobytes()
            != taps[part.name].tobytes()
        ]
        users = [part.name for part in parts(config) if part.uses(weight.name)]
        assert changed == users, weight.name


def test_fields_are_fields_of_the_config():
    known = set(ViTConfig.model_fields)
    named = {f for c in CASES.values() for part in parts(c) for f in part.fields}
    assert named <= known
    assert {"norm_eps", "act_layer", "num_heads", "global_pool", "head_act"} <= named


@pytest.mark.parametrize("case", ["vit", "map", "features_3d", "distilled_pooled"])
def test_tokens_and_head_are_the_outputs(case):
    """The reference gives all in one pass."""
    config = CASES[case]
    asked, x = runner(config), inputs(config)
    tokens = asked.tokens(x)
    outputs = tokens if config.global_pool == "none" else asked.head(tokens)
    assert outputs.tobytes() == asked.outputs(x).tobytes()


def test_a_weight_drawn_anew_is_seen_by_its_digest():
    config = CASES["vit"]
    asked = runner(config)
    before = asked.digests()
    assert before.keys() == {weight.name for weight in weight_table(config)}
    with torch.no_grad():
        asked.model.blocks[1].mlp.fc1.weight.normal_()
    after = asked.digests()
    changed = [name for name in before if before[name] != after[name]]
    assert changed == ["blocks.1.mlp.fc1.weight"]
