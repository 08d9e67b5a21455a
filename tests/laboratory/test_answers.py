"""What is asked of a large model: outputs of everything, tokens of a part."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converters.parity.plan import LAYER_KINDS, Plan
from converters.workers.answers import Case
from converters.workers.archive import Archive
from converters.workers.inputs import KINDS
from tests.laboratory.common import FLAT
from vit_config import ViTConfig


class Counting:
    """A model that only counts the inputs that go through it."""

    config = FLAT

    def __init__(self) -> None:
        self.passes = 0

    def outputs(self, x: np.ndarray) -> np.ndarray:
        self.passes += len(x)
        return x.mean(axis=(2, 3))

    def tokens(self, x: np.ndarray) -> np.ndarray:
        self.passes += len(x)
        return x.reshape(len(x), -1, 3)

    def head(self, tokens: np.ndarray, pre_logits: bool = False) -> np.ndarray:
        return tokens.mean(axis=1)


def asked(folder: Path, **more: object) -> tuple[Counting, set[str]]:
    for kind in KINDS:
        np.save(folder / f"{kind}.npy", np.ones((2, 3, 4, 4), np.float32))
    fields = {"sets": {kind: f"{kind}.npy" for kind in KINDS}, **more}
    runner = Counting()
    with Archive(folder / "answers.npz") as archive:
        Case(fields, folder, archive, lambda: runner).outputs(runner)
    with np.load(folder / "answers.npz") as found:
        return runner, set(found.files)


def test_tokens_are_given_of_all_kinds_unless_some_are_named(tmp_path):
    runner, names = asked(tmp_path)
    assert {name.split(":")[1] for name in names if name.endswith("tokens")} == {*KINDS}
    assert runner.passes == 2 * 2 * len(KINDS)


def test_of_the_others_the_model_runs_once_and_its_outputs_are_given(tmp_path):
    runner, names = asked(tmp_path, tokens_of=["noise"])
    assert {f"set:{kind}:outputs" for kind in KINDS} <= names
    more = names - {f"set:{kind}:outputs" for kind in KINDS}
    assert more == {"set:noise:tokens", "set:noise:pooled"}
    assert runner.passes == 2 * len(KINDS) + 2


def test_only_a_large_model_is_spared(tmp_path):
    large = ViTConfig.preset("vit-b16-224").replace(depth=3, num_classes=10)
    for config, spared in ((FLAT, False), (large, True)):
        home = tmp_path / str(spared)
        home.mkdir()
        plan = Plan(config, "logits", "float32", "cpu", False, home, 0)
        case = plan.case()
        assert set(case["sets"]) == set(KINDS)
        assert ("tokens_of" in case) is spared
        if spared:
            assert set(LAYER_KINDS) <= set(case["tokens_of"]) < {*KINDS, "own"}
