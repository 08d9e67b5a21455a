"""What the processes answer: one with the torch twin, one with Keras on torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from converters.judging.rms import rms
from converters.mapping.pipe import cast, sha256
from converters.workers.parts import INPUT, parts
from tests.cases import CASES
from tests.fill import fill_weights
from tests.laboratory.lab import RESAVED, VARIANTS, Answers, ask
from tests.once import shared_folder
from vit_config.weights import weight_table

pytestmark = pytest.mark.skipif(
    not all(find_spec(name) for name in ("torch", "keras")),
    reason="torch or keras is not installed",
)

TRAINED = ("vit", "qv_bias", "sincos_3d", "distilled", "tokens", "map")


ASKED = (
    *TRAINED,
    *("tanh_head", "all_prefixes", "dual_norm", "pre_norm", "qk_norm", "layer_scale"),
    *("swiglu", "avg_3d", "deep"),
)
"""Cases of the default run, which have every kind of step."""


def cases(names: Iterable[str]) -> list[Any]:
    """All cases; slow but for those."""
    return [
        pytest.param(name, marks=() if name in names else pytest.mark.slow)
        for name in CASES
    ]


class Asked:
    """The processes: one pair for the default cases, another for the rest."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory

    def of(self, case: str) -> Answers:
        """The answers that the case is among."""
        few = case in ASKED or case in VARIANTS
        folder = shared_folder(self._factory, f"laboratory-{'few' if few else 'all'}")
        names = (
            [*ASKED, *VARIANTS]
            if few
            else [name for name in CASES if name not in ASKED]
        )
        return ask(folder, "torch", names, TRAINED)


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Asked:
    return Asked(tmp_path_factory)


@pytest.fixture
def answers(asked) -> Answers:
    return asked.of("vit")


@pytest.mark.parametrize("case", cases(ASKED))
def test_keras_on_torch_says_the_same_bits(case, asked):
    answers = asked.of(case)
    """But for training, whose optimizers round elsewhere."""
    config = CASES[case]
    ours, theirs = answers.of(case)
    wanted = {"set:noise:outputs"}
    if config.global_pool != "none":
        wanted |= {"set:noise:tokens"}
    if config.num_classes:
        wanted |= {"set:noise:pooled"}
    names = [part.name for part in parts(config)]
    wanted |= {f"taps:noise:{name}" for name in names}
    if case in TRAINED:
        trained = [w.name for w in weight_table(config) if w.trainable]
        wanted |= {f"grad:{name}" for name in (INPUT, *trained)}
    for name in wanted:
        assert ours[name].dtype == np.float32
        assert ours[name].tobytes() == theirs[name].tobytes(), name
        exact = theirs[f"exact:{name}"]
        assert exact.dtype == np.float64
        np.testing.assert_allclose(ours[name], exact, rtol=0, atol=1e-4)
    seen = "attention:noise"
    assert ours[seen].shape == (2, *config.grid_size)
    assert ours[seen].tobytes() == theirs[seen].tobytes()
    wanted.add(seen)
    rest = {n for n in ours if not n.startswith(("train:", "forced:"))}
    assert rest == wanted


@pytest.mark.parametrize("case", cases(ASKED))
def test_forced_steps_begin_with_what_the_reference_has(case, asked):
    answers = asked.of(case)
    ours, theirs = answers.of(case)
    with np.load(answers.folder / f"{case}-forced.npz") as given:
        files = [name for name in given.files if not name.endswith("|axes")]
        assert files == [INPUT, *(part.name for part in parts(CASES[case]))]
    for part in parts(CASES[case]):
        taps = theirs[f"taps:noise:{part.name}"]
        assert ours[f"forced:noise:{part.name}"].tobytes() == taps.tobytes(), part.name
        assert f"forced:noise:{part.name}" not in theirs
        exact = theirs[f"exact:forced:noise:{part.name}"]
        assert exact.dtype == np.float64 and exact.shape == taps.shape
        np.testing.assert_allclose(taps, exact, rtol=0, atol=2e-5)


def test_the_oracle_of_a_step_is_fed_with_float32(answers):
    """So that the error of a step is that of the step alone."""
    _, theirs = answers.of("deep")
    name = "noise:blocks.4.residual2"
    taps = theirs[f"taps:{name}"]
    alone = rms(taps - theirs[f"exact:forced:{name}"])
    together = rms(taps - theirs[f"exact:taps:{name}"])
    assert 0 < alone < together / 2


@pytest.mark.parametrize("case", cases(ASKED))
def test_digests_are_those_of_the_weights(case, asked):
    answers = asked.of(case)
    wanted = {
        name: hashlib.sha256(np.ascontiguousarray(values)).hexdigest()
        for name, values in fill_weights(CASES[case]).items()
    }
    for said in (answers.keras, answers.torch):
        assert said["cases"][case]["digests"] == wanted


def test_digests_are_in_the_type_of_the_file(asked):
    """Computed with in float32, told as stored in bfloat16."""
    answers = asked.of("map@stored")
    wanted = {
        name: sha256(cast(values, "bfloat16"))
        for name, values in fill_weights(CASES["map"]).items()
    }
    for said in (answers.keras, answers.torch):
        assert said["cases"]["map@stored"]["digests"] == wanted
    ours, theirs = answers.of("map@stored")
    name = "set:noise:tokens"
    assert ours[name].tobytes() == theirs[name].tobytes()


def test_a_model_to_be_judged_gets_no_oracle(asked):
    answers = asked.of("vit")
    keras, _ = answers.of("vit")
    _, judged = answers.of("vit@judged")
    assert not [name for name in judged if name.startswith("exact:")]
    assert judged.keys() == {
        name for name in keras if not name.startswith(("train:", "grad:"))
    }
    for name, values in judged.items():
        assert values.tobytes() == keras[name].tobytes(), name


def test_a_smaller_type_is_computed_in_by_both(asked):
    """The oracle has the weights as that type has them."""
    ours, theirs = asked.of("vit").of("vit@bfloat16")
    float32, _ = asked.of("vit").of("vit")
    for name in ("set:noise:tokens", "taps:noise:blocks.0.norm1", "set:noise:outputs"):
        exact = theirs[f"exact:{name}"]
        for values in (ours[name], theirs[name]):
            assert (cast(values, "bfloat16").astype(np.float32) == values).all()
            assert 1e-3 < rms(values - exact) / rms(exact) < 3e-2, name
        assert rms(float32[name] - exact) > 1e-3 * rms(exact)
    assert rms(ours["set:noise:tokens"] - theirs["exact:set:noise:tokens"]) < 2 * rms(
        theirs["set:noise:tokens"] - theirs["exact:set:noise:tokens"]
    )


def test_the_model_saved_again_has_the_same_weights(asked):
    from converters.conversion.convert import read_checked

    answers = asked.of(RESAVED)
    with read_checked(answers.folder / f"{RESAVED}-again.keras") as found:
        digests = {name: sha for name, (_, _, sha) in found.digests.items()}
    assert digests == answers.keras["cases"][RESAVED]["digests"]
    assert found.config.architecture() == CASES[RESAVED].architecture()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("case", TRAINED)
def test_both_train_the_same(case, optimizer, asked):
    """Torch's optimizers and Keras': the same update, rounded elsewhere."""
    config = CASES[case]
    ours, theirs = asked.of(case).of(case)
    start = fill_weights(config)
    trained = [w.name for w in weight_table(config) if w.trainable]
    prefix = f"train:{optimizer}:"
    names = {n.removeprefix(prefix) for n in ours if n.startswith(prefix)}
    assert names == {"loss", *trained}
    loss = theirs[f"exact:{prefix}loss"]
    assert loss.shape == (5,) and len(set(loss)) == 5
    for answers in (ours, theirs):
        np.testing.assert_allclose(answers[f"{prefix}loss"], loss, rtol=1e-5)
    for name in trained:
        exact = theirs[f"exact:{prefix}{name}"]
        moved = rms(exact - start[name])
        assert moved > 1e-5, name
        for answers in (ours, theirs):
            assert rms(answers[f"{prefix}{name}"] - exact) < 1e-3 * moved, name


def test_versions_and_flags_are_told(answers):
    for said in (answers.keras, answers.torch):
        assert {"python", "torch", "numpy"} <= said["versions"].keys()
        assert {"device", "threads", "oneDNN", "TF32", "deterministic"} <= (
            said["flags"].keys()
        )
        assert said["flags"]["device"] == "cpu" and said["flags"]["TF32"] == "False"
    assert answers.keras["versions"]["keras"] == answers.keras["keras"]
    assert answers.keras["backend"] == "torch"
