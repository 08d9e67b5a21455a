"""Faults and clean pairs through `verify`, many in the same processes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from converters.cli import app
from converters.errors import ConversionError
from converters.parity.faults import BASES, FAULTS, families, faults_of
from converters.parity.selftest import run as self_test_run
from converters.parity.selftest.clean import clean_pairs, drawn_config, drawn_model
from converters.parity.selftest.common_checks import passed
from converters.parity.selftest.recorded import FOLDER, USED, ratios, recorded
from converters.parity.selftest.run import Item, SelfTest, chosen_faults, self_test
from converters.parity.selftest.table import page
from converters.parity.selftest.trial import Outcome, of_base
from tests.once import once
from tests.saving.backends import backend_param
from vit_config.weights import weight_table

BACKENDS = [
    backend_param("torch", marks=(pytest.mark.slow,)),
    backend_param("tensorflow", marks=(pytest.mark.slow,)),
]
SOME = (
    "runtime/epsilon 0.001/blocks.1.norm1",
    "runtime/softmax scale x1.01",
    "runtime/gelu_tanh in one block",
    "runtime/dropout left on in one block",
    "runtime/zeroed/blocks.1.attn.proj.bias",
    "runtime/input flipped 0",
    "runtime/no residual around attn",
    "runtime/one head twice",
)


LONGER = "schema/depth+1"
"""Found, and blamed on more than its field: on the weights of the added block, too."""


def outcomes(base: str, names: list[str], backend: str, folder: Path) -> list[Outcome]:
    """Done once in a test run."""
    kept = folder / "outcomes.json"

    def work() -> None:
        home = folder / "files"
        home.mkdir()
        found = [one.to_dict() for one in of_base(base, names, backend, home)]
        kept.write_text(json.dumps(found), "utf-8")

    once(folder / "done", work)
    return [Outcome.from_dict(one) for one in json.loads(kept.read_text("utf-8"))]


def of_family(base: str, family: str) -> str:
    """The first fault of a family that a base can have."""
    return next(f.name for f in faults_of(BASES[base]) if f.family == family)


@pytest.fixture(scope="module")
def tried(tmp_path_factory) -> list[Outcome]:
    base = "2D classification"
    names = [*SOME, of_family(base, "schema flag"), of_family(base, "element"), ""]
    names += [of_family(base, "rules swapped"), "data/dropped", LONGER]
    folder = tmp_path_factory.mktemp("tried")
    return outcomes(base, names, "torch", folder)


@pytest.mark.slow
@pytest.mark.parametrize("backend", [backend_param("torch")])
def test_every_fault_is_found_and_its_place_blamed(backend, tried):
    faults = [one for one in tried if one.fault not in ("", LONGER)]
    assert len(faults) >= 12
    for one in faults:
        assert one.caught and not one.problem, one
        assert one.right, one
        if one.fault.startswith("runtime/"):
            assert one.step_right, one


@pytest.mark.slow
@pytest.mark.parametrize("backend", [backend_param("torch")])
def test_a_blame_of_more_than_the_place_counts_as_wrong(backend, tried):
    (longer,) = (one for one in tried if one.fault == LONGER)
    assert longer.caught and longer.right is False
    assert longer.fields == ("depth",) and longer.tensors


@pytest.mark.slow
@pytest.mark.parametrize("backend", [backend_param("torch")])
def test_a_fault_of_the_running_model_is_not_found_in_the_files(backend, tried):
    for one in tried:
        fault = FAULTS.get(one.fault)
        if fault is None:
            continue
        if fault.kind != "runtime":
            assert {"weights", "config"} & set(one.found_by), one
        elif fault.family == "weights in memory":
            assert "weights" in one.found_by
        else:
            assert not {"weights", "config"} & set(one.found_by), one
            assert "layers" in one.found_by


@pytest.mark.slow
@pytest.mark.parametrize("backend", [backend_param("torch")])
def test_between_faults_the_clean_model_passes(backend, tried):
    """A fault leaves nothing behind in the process."""
    (clean,) = (one for one in tried if not one.fault)
    assert clean.passed and clean.right is None
    assert clean.largest["outputs"] == clean.largest["each step alone"] == 1.0
    assert all(clean.common.values()) and clean.common.keys() >= {"KL", "atol 1e-4"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_clean_models_of_any_config_pass(backend, tmp_path):
    found = list(clean_pairs(range(5000, 5003), (backend,), tmp_path))
    assert len({one.base for one in found}) == 3
    for one in found:
        assert one.passed, one
        assert 0 < one.largest["outputs"] <= 2


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("backend", [backend_param("tensorflow")])
def test_every_runtime_fault_is_found_on_tensorflow(backend, base, tmp_path):
    names = [fault.name for fault in faults_of(BASES[base], "runtime")]
    for one in of_base(base, names, backend, tmp_path):
        assert one.caught and one.right and one.step_right, one


def test_what_could_not_be_run_is_neither_found_nor_passed():
    one = Outcome("3D features", "runtime/no positions", "jax", (), problem="no jax")
    assert not one.caught and not one.passed
    text = page([one, replace(one, fault="")], "keras 3", "As it ran.")
    assert "Not found: `runtime/no positions` (3D features)." in text
    assert "1 not passed" in text


# ---- what is drawn ------------------------------------------------------------------


def test_configs_are_drawn_over_the_schema_and_the_same_for_a_seed():
    configs = [drawn_config(np.random.default_rng(seed)) for seed in range(300)]
    assert configs[7] == drawn_config(np.random.default_rng(7))
    assert len({config.architecture_hash() for config in configs}) == 300
    for field, values in {
        "spatial_dims": {2, 3},
        "global_pool": {"token", "avg", "map", "token_avg", "max", "none"},
        "patch_norm": {"none", "post", "dual"},
        "pos_embed": {"learned", "sincos", "none"},
        "mlp_layer": {"mlp", "swiglu"},
        "distilled": {False, True},
        "qk_norm": {False, True},
        "head_act": {None, "tanh"},
    }.items():
        assert {getattr(config, field) for config in configs} == values, field


def test_every_weight_of_a_drawn_model_is_filled():
    model = drawn_model(11)
    for weight in weight_table(model.config):
        values = model.tensors[weight.name]
        assert values.shape == weight.shape
        assert np.unique(values).size > 1 or values.size == 1


@pytest.mark.parametrize("base", BASES)
def test_a_self_test_tries_one_fault_of_each_family(base):
    found = [FAULTS[name].family for name in chosen_faults(base, 0)]
    assert found == [
        family
        for family in families()
        if any(f.family == family for f in faults_of(BASES[base]))
    ]
    assert chosen_faults(base, 0) == chosen_faults(base, 0) != chosen_faults(base, 1)


# ---- the common checks --------------------------------------------------------------


def test_common_checks_are_those_of_their_names():
    reference = np.array([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]], np.float32)
    near = reference + np.float32(5e-4) * np.array([[1, -1, 0], [0, 1, 0]], np.float32)
    found = passed(reference, near, logits=True)
    assert found == {"atol 1e-3": True, "atol 1e-4": False, "KL": True, "top-1": True}
    turned = reference[:, ::-1]
    assert not any(passed(reference, turned, logits=True).values())
    assert passed(reference, near, logits=False)["top-1"] is None
    assert passed(reference, near, logits=False)["KL"] is None
    assert passed(reference, reference * np.float32("nan"), True)["atol 1e-3"] is False


# ---- recorded outputs ---------------------------------------------------------------


def test_recorded_cases_are_of_every_library_with_its_version():
    names = {one.library for case in USED for one in recorded(case)}
    kinds = {name.partition(" ")[0] for name in names}
    assert kinds == {"timm", "transformers", "torchvision", "monai", "vit-pytorch"}
    assert all(name.partition(" ")[2][0].isdigit() for name in names)
    assert {f"{case}.safetensors" for case in USED} <= {
        p.name for p in FOLDER.iterdir()
    }


@pytest.mark.parametrize(
    "backend", [None, backend_param("torch", marks=(pytest.mark.slow,))]
)
def test_a_twin_meets_what_libraries_recorded_and_a_wrong_one_does_not(
    backend, tmp_path
):
    for one, ratio in ratios(
        ("monai_3d_tanh", "hf_videomae"), backend, "cpu", tmp_path
    ):
        assert ratio <= 2, one.case
        wrong = one.exact.astype(np.float32) * np.float32(1 + 1e-4)
        assert one.ratio(wrong) > 2, one.case
        assert np.isnan(one.ratio(wrong[:, :1]))


# ---- the whole ----------------------------------------------------------------------


ITEMS = {
    "recorded": Item(
        kind="recorded", name="a", backend="torch", passed=True, ratio=1.0
    ),
    "found": Item(
        kind="fault",
        name="b",
        backend="torch",
        passed=True,
        found_by=("layers",),
        blamed_right=True,
    ),
    "misplaced": Item(
        kind="fault",
        name="c",
        backend="torch",
        passed=True,
        found_by=("layers",),
        blamed_right=False,
    ),
    "missed": Item(
        kind="fault",
        name="d",
        backend="torch",
        passed=False,
        blamed_right=False,
        message="was passed for the same model",
    ),
    "alarm": Item(
        kind="clean", name="e", backend="torch", passed=False, message="failed: layers"
    ),
}


@pytest.mark.parametrize(
    ("names", "good"),
    [
        (("recorded", "found"), True),
        (("recorded", "found", "misplaced"), False),
        (("recorded", *["found"] * 6, "misplaced"), True),
        (("recorded", *["found"] * 9, "missed"), False),
        (("recorded", "found", "alarm"), False),
    ],
)
def test_a_self_test_passes_only_if_all_is_as_it_should_be(names, good, monkeypatch):
    items = [ITEMS[name] for name in names]
    monkeypatch.setattr(self_test_run, "_items", lambda *args: iter(items))
    found = self_test(("torch",))
    assert found.passed is good
    assert SelfTest.model_validate_json(found.model_dump_json()) == found
    done = CliRunner().invoke(app.app, ["verify", "--self-test", "--backend", "torch"])
    assert done.exit_code == (0 if good else 1)
    assert done.stdout.startswith("PASSED" if good else "FAILED")
    for item in items:
        assert (item.name + ": " + item.message in done.stdout) is not item.passed


@pytest.mark.parametrize("asked", [{"device": "tpu"}, {"backends": ("mxnet",)}])
def test_what_there_is_not_is_refused(asked):
    with pytest.raises(ConversionError, match="known are"):
        self_test(**asked)


@pytest.mark.parametrize(
    "arguments", [["a", "b"], ["--level", "weights"], ["--report", "x.html"]]
)
def test_a_self_test_takes_no_models(arguments, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app.app, ["verify", "--self-test", *arguments])
    assert done.exit_code == 1
    assert "goes without" in done.output


# ---- the page -----------------------------------------------------------------------


def test_the_page_counts_what_was_found_by_what():
    common = {"atol 1e-3": True, "atol 1e-4": False, "KL": None, "top-1": None}
    kept = Outcome(
        "2D features",
        "runtime/no positions",
        "tensorflow",
        ("logits", "layers"),
        right=True,
        step=("pos_embed",),
        step_right=True,
        common=common,
    )
    missed = Outcome(
        "3D features", "runtime/no positions", "tensorflow", (), right=False
    )
    clean = Outcome("drawn 1", "", "jax", (), largest={"outputs": 1.25})
    alarm = Outcome("drawn 2", "", "jax", ("layers",), largest={"outputs": 3.5})
    text = page([kept, missed, clean, alarm], "keras 3", "As it ran.")
    (row,) = (line for line in text.splitlines() if line.startswith("| tokens |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:] == [
        "2",
        "1",
        "0",
        "1",
        "1",
        "1",
        "1 of 1",
        "0 of 1",
        "1 of 1",
        "–",
        "–",
    ]
    assert "Not found: `runtime/no positions` (3D features)." in text
    assert "2 correct pairs" in text and "drawn 2 on jax" in text
    assert "| jax | 2 | 1 | 3.50" in text
