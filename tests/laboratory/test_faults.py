"""The faults are what they say: valid models, each another one, each in its place."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest

from converters.checks.tensors import check_tensors, value_problem
from converters.mapping.pipe import MemorySource, sha256
from converters.mapping.table import CANONICAL, Plan
from converters.parity import faults
from converters.parity.faults import BASES, FAULTS, Model, base_model, faults_of
from converters.parity.faults.mapping import is_identity, next_alike, weights_of
from converters.parity.faults.patch import Patch
from converters.parity.faults.schema import OUT_OF_SCOPE, output_shape
from vit_config import ViTConfig
from vit_config.weights import RULES, weight_table

bases = pytest.mark.parametrize("base", BASES)
ARCHITECTURE = set(ViTConfig.model_fields) - {"data", "labels", "source"}


def of_files(base: str) -> list[faults.Fault]:
    return [fault for fault in faults_of(BASES[base]) if fault.kind != "runtime"]


@lru_cache(maxsize=4)
def plan(config: ViTConfig) -> Plan:
    return CANONICAL.plan(config)


@lru_cache(maxsize=4)
def done(base: str) -> dict[str, Model]:
    """The faulty B of every file and mapping fault."""
    return {fault.name: fault.of(base_model(base)) for fault in of_files(base)}


def digests(model: Model) -> dict[str, str]:
    return {name: sha256(values) for name, values in model.tensors.items()}


def changed(a: Model, b: Model) -> set[str]:
    one, other = digests(a), digests(b)
    names = one.keys() | other.keys()
    return {name for name in names if one.get(name) != other.get(name)}


def fields(a: ViTConfig, b: ViTConfig) -> set[str]:
    """Fields that differ, those of the preprocessing by themselves."""
    one, other = a.to_dict(), b.to_dict()
    names = {name for name in one if one[name] != other[name]}
    if "data" in names and one["data"] and other["data"]:
        names.remove("data")
        names |= {
            f"data.{name}"
            for name, value in one["data"].items()
            if other["data"][name] != value
        }
    return names


# ---- the list ---------------------------------------------------------------------


def test_there_are_as_many_as_stated():
    line = re.compile(r"^ {4}(file|mapping|runtime)? +(\D+?)((?: +\d+){5})$", re.M)
    stated = {
        family: tuple(map(int, numbers.split()))
        for _, family, numbers in line.findall(faults.__doc__ or "")
    }
    columns = {
        family: (*row.values(), sum(row.values()))
        for family, row in faults.counts().items()
    }
    columns["all"] = tuple(map(sum, zip(*columns.values(), strict=True)))
    assert stated == columns


def test_kinds_stand_with_their_families():
    line = re.compile(r"^ {4}(file|mapping|runtime) +(\D+?) +\d", re.M)
    stated = {family: kind for kind, family in line.findall(faults.__doc__ or "")}
    assert stated == {fault.family: fault.kind for fault in FAULTS.values()}


def test_every_fault_is_done_to_a_base():
    used = {fault.name for config in BASES.values() for fault in faults_of(config)}
    assert used == FAULTS.keys()


def test_every_field_of_the_architecture_is_flipped_or_out_of_scope():
    flipped: set[str] = set()
    for base, config in BASES.items():
        for name, model in done(base).items():
            differing = fields(config, model.config) & ARCHITECTURE
            assert differing <= set(FAULTS[name].fields), name
            flipped |= differing
    assert flipped.isdisjoint(OUT_OF_SCOPE)
    assert flipped | OUT_OF_SCOPE.keys() == ARCHITECTURE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema_version", 2),
        ("norm_layer", "rmsnorm"),
    ],
)
def test_what_is_out_of_scope_is_no_config(field, value):
    with pytest.raises(ValueError, match=field):
        BASES["2D classification"].replace(**{field: value})


def test_every_rule_of_the_table_goes_wrong_in_every_way_it_can():
    pairs: set[frozenset[str]] = set()
    for config in BASES.values():
        names = {fault.name for fault in faults_of(config, "mapping")}
        for rule in RULES:
            mine = weights_of(rule, config)
            if not mine:
                continue
            label = rule.torch + (", linear" if rule.fan_in == "f" else "")
            assert f"rule dropped/{label}" in names
            assert is_identity(rule) or f"rule untransposed/{label}" in names
            partner = next_alike(rule, config)
            if partner is not None:
                other = partner.torch + (", linear" if partner.fan_in == "f" else "")
                swaps = {f"rules swapped/{label} and {other}"}
                swaps |= {f"rules swapped/{other} and {label}"}
                assert swaps & names, swaps
                pairs.add(frozenset((label, other)))
    swapped = [n for n in FAULTS if n.startswith("rules swapped/")]
    assert len(pairs) == len(swapped)


def test_the_bases_have_every_rule_and_no_plain_weight():
    have = Counter(
        weight.rule for config in BASES.values() for weight in weight_table(config)
    )
    assert have.keys() == set(RULES)
    for base in BASES:
        for name, values in base_model(base).tensors.items():
            assert values.dtype == np.float32
            assert len(np.unique(values)) > values.size * 0.6, name


# ---- file and mapping faults ------------------------------------------------------


@bases
def test_faulty_models_are_valid(base):
    for name, model in done(base).items():
        wanted = plan(model.config)
        assert not check_tensors(MemorySource(model.tensors), wanted), name
        for tensor, values in model.tensors.items():
            assert not value_problem(tensor, values, model.config), (name, tensor)
            assert values.flags.c_contiguous, (name, tensor)
        assert output_shape(model.config) == output_shape(BASES[base]), name


@bases
def test_faulty_models_differ_from_the_clean_one_and_from_each_other(base):
    clean = base_model(base)
    seen = {(clean.config.to_json(), *digests(clean).items()): "the clean one"}
    for name, model in done(base).items():
        key = (model.config.to_json(), *digests(model).items())
        assert key not in seen, f"{name} is {seen[key]}"
        seen[key] = name


@bases
def test_what_differs_is_to_be_blamed_and_nothing_else(base):
    """Weights that follow a flag in shape are no place of their own."""
    clean = base_model(base)
    for name, model in done(base).items():
        fault, weights = FAULTS[name], changed(clean, model)
        assert fields(clean.config, model.config) <= set(fault.fields), name
        if fault.family == "schema flag":
            assert clean.config.architecture() != model.config.architecture(), name
        else:
            assert clean.config.architecture() == model.config.architecture(), name
            assert weights <= fault.expected(weights), name
            assert bool(weights) == bool(fault.tensors), name


@bases
def test_faults_are_deterministic_and_leave_the_model_alone(base):
    clean = base_model(base)
    before = digests(clean)
    for fault in reversed(of_files(base)):
        again = fault.of(clean)
        first = done(base)[fault.name]
        assert again.config == first.config
        assert all(
            np.array_equal(values.view(np.uint32), first.tensors[name].view(np.uint32))
            for name, values in again.tensors.items()
        ), fault.name
    assert digests(clean) == before


MOVES = ("order", "geometry", "rules swapped", "rule untransposed")
"""Families whose faults move values and change none, but for the mean of channels."""


@bases
def test_what_is_in_the_wrong_place_is_all_there(base):
    def values(model: Model) -> np.ndarray:
        return np.sort(np.concatenate([v.ravel() for v in model.tensors.values()]))

    clean = values(base_model(base))
    for name, model in done(base).items():
        if FAULTS[name].family in MOVES and name != "geometry/channels averaged":
            assert np.array_equal(values(model), clean), name


def test_a_single_element_is_a_single_element():
    for base in BASES:
        clean = base_model(base).tensors
        for name, model in done(base).items():
            if FAULTS[name].family != "element":
                continue
            (tensor,) = FAULTS[name].tensors
            one, other = clean[tensor], model.tensors[tensor]
            assert np.count_nonzero(one != other) == 1
            if name.startswith("one ulp"):
                bits = one.view(np.int32) - other.view(np.int32)
                assert np.abs(bits).max() == 1


@bases
def test_the_torch_twin_loads_and_runs_every_flipped_flag(base):
    torch = pytest.importorskip("torch")
    import torch_vit

    x = torch.ones(1, BASES[base].in_chans, *BASES[base].img_size)
    for name, model in done(base).items():
        if FAULTS[name].family != "schema flag":
            continue
        twin = torch_vit.ViT(model.config, device="meta")
        state = {k: torch.from_numpy(v) for k, v in model.tensors.items()}
        twin.load_state_dict(state, strict=True, assign=True)
        with torch.inference_mode():
            y = twin.eval()(x)
        assert y.shape[1:] == output_shape(BASES[base]), name
        assert torch.isfinite(y).all(), name


@bases
def test_what_no_output_shows(base):
    """Three faults leave the function as it is: only the weights can tell.

    A key bias adds the same to all scores of a query, unless keys are normed.
    """
    torch = pytest.importorskip("torch")
    import torch_vit
    from converters.workers.fill import image

    def output(model: Model) -> np.ndarray:
        twin = torch_vit.ViT(model.config, device="meta").eval()
        state = {k: torch.from_numpy(v).double() for k, v in model.tensors.items()}
        twin.load_state_dict(state, strict=True, assign=True)
        shape = (2, model.config.in_chans, *model.config.img_size)
        with torch.inference_mode():
            return twin(torch.from_numpy(image(shape)).double()).numpy()

    clean = output(base_model(base))
    hidden = ["order/heads everywhere", "order/hidden units"]
    keys = [name for name in done(base) if name.startswith("key bias zeroed")]
    shown = ["order/heads of v", "order/blocks 1 0 2"]
    (shown if BASES[base].qk_norm else hidden).extend(keys)
    for name in hidden:
        assert np.abs(output(done(base)[name]) - clean).max() < 1e-12, name
    for name in shown:
        assert np.abs(output(done(base)[name]) - clean).max() > 1e-4, name


# ---- blame, patch -----------------------------------------------------------------


def test_a_blame_is_right_if_all_of_it_is_the_place():
    fault = FAULTS["schema/not pre_norm"]
    assert fault.right(["norm_pre.weight"], [])
    assert fault.right([], ["pre_norm"])
    assert not fault.right([], [])
    assert not fault.right(["norm_pre.weight", "norm.weight"], [])
    assert not fault.right(["norm_pre.weight"], ["norm_eps"])


def test_a_runtime_fault_changes_no_file():
    fault = FAULTS["runtime/no final norm"]
    with pytest.raises(ValueError, match="changes no file"):
        fault.of(base_model("2D features"))


def test_only_a_runtime_fault_of_the_config_is_injected():
    class Loaded:
        config = BASES["2D features"]

    for name in ("no such fault", "schema/not pre_norm", "runtime/no head_act"):
        with pytest.raises(ValueError, match=name), faults.inject(Loaded(), name):
            pass


def test_a_patch_takes_everything_back_last_first():
    class Thing:
        shared = 1

        def double(self, x: int) -> int:
            return 2 * x

    thing = Thing()
    thing.own = "mine"
    with Patch() as patch:
        patch.set(thing, "own", "other")
        patch.set(thing, "own", "third")
        patch.set(thing, "shared", 5)
        patch.wrap(thing, "double", lambda was, x: was(x) + 1)
        patch.wrap(thing, "double", lambda was, x: 10 * was(x))
        assert (thing.own, thing.shared, thing.double(3)) == ("third", 5, 70)
        assert Thing().double(3) == 6
    assert vars(thing) == {"own": "mine"}
    assert thing.double(3) == 6
