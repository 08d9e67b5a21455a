"""The laws of a rule table, and what a plan made from one must be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from converters.mapping.pipe import MemorySource, Pipe, apply, np_dtype
from converters.mapping.table import (
    CANONICAL,
    KERAS,
    Row,
    Step,
    Table,
    TableError,
    joined,
)
from tests.converters.cases import CASES, weights
from vit_config import ViTConfig
from vit_config.weights import weight_table

BROKEN = {
    "identity_kernel": (
        [Row(("a.weight",), ("a/kernel",), "d c -> d c")],
        "a transpose is missing",
    ),
    "identity_kernel_square": (
        [Row(("a.weight",), ("a/kernel",), "(h e) d -> (h e) d")],
        "a transpose is missing",
    ),
    "axis_lost": ([Row(("a",), ("b",), "d c -> d")], "stand on one side only"),
    "axis_twice": ([Row(("a",), ("b",), "d d -> d d")], "an axis stands twice"),
    "axis_unknown": ([Row(("a",), ("b",), "d z -> z d")], "unknown axes ['z']"),
    "no_arrow": ([Row(("a",), ("b",), "d c")], "exactly one '->'"),
    "brackets": ([Row(("a",), ("b",), "(d c -> c d")], "cannot read '('"),
    "block_on_one_side": ([Row(("a.{i}",), ("b",), "d -> d")], "{i} must stand once"),
    "no_names": ([Row((), ("b",), "d -> d")], "a side without names"),
    "parts_without_axis": (
        [Row(("q", "k", "v"), ("qkv",), "(s h e) d -> (s h e) d")],
        "must begin with the axis of its 3 parts",
    ),
    "target_twice": (
        [Row(("a",), ("x",), "d -> d"), Row(("b",), ("x",), "d -> d")],
        "x: a -> x, and b -> x",
    ),
    "source_twice": (
        [Row(("a",), ("x",), "d -> d"), Row(("a",), ("y",), "d -> d")],
        "a: a -> x, and a -> y",
    ),
    "row_twice": ([Row(("a",), ("x",), "d -> d")] * 2, "two rows under one condition"),
    "name_twice_in_a_row": (
        [Row(("a", "a"), ("x",), "t d -> (t d)")],
        "stands twice in",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_table_is_refused_when_it_is_made(case):
    rows, text = BROKEN[case]
    with pytest.raises(TableError) as error:
        Table("broken", tuple(rows))
    assert text in str(error.value)


def test_all_breaches_are_told_at_once():
    rows = tuple(row for rows, _ in BROKEN.values() for row in rows)
    with pytest.raises(TableError) as error:
        Table("broken", rows)
    assert len(error.value.problems) >= len(BROKEN)


def test_blanked_transpose_of_the_real_table_is_refused():
    """A forgotten transpose of a square weight passes every shape check there is."""
    row = next(row for row in KERAS.rows if "attn.proj.weight" in row.sources[0])
    blank = replace(row, pattern="d (h e) -> d (h e)")
    rows = tuple(blank if other is row else other for other in KERAS.rows)
    with pytest.raises(TableError, match="a transpose is missing"):
        Table("keras", rows)


def test_rows_that_meet_in_one_config_are_refused_by_the_plan():
    first = Row(("a",), ("x",), "d -> d", lambda config: True)
    again = Row(("a",), ("x",), "d -> d", lambda config: config.depth > 1)
    table = Table("meeting", (first, again))
    assert len(table.plan(CASES["features"].replace(depth=1)).steps) == 1
    with pytest.raises(TableError, match="a: 2 rows of this config name it"):
        table.plan(CASES["features"])


@pytest.mark.parametrize("case", CASES)
def test_plan_is_the_weight_table(case):
    plan = KERAS.plan(CASES[case])
    assert [
        (*step.sources, step.source_shape, *step.targets, step.target_shape)
        for step in plan.steps
    ] == [(w.name, w.shape, w.path, w.keras_shape) for w in weight_table(CASES[case])]


@pytest.mark.parametrize("case", CASES)
def test_plan_is_the_state_dict_of_a_live_torch_twin(case):
    import torch_vit

    state = torch_vit.ViT(CASES[case], device="meta").state_dict()
    live = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert KERAS.plan(CASES[case]).source_shapes == live
    assert list(KERAS.plan(CASES[case]).source_shapes) == list(live)


def test_inverse_of_the_inverse_is_the_plan():
    for config in CASES.values():
        assert KERAS.plan(config).inverse().inverse() == KERAS.plan(config)
        assert CANONICAL.plan(config).inverse() == CANONICAL.plan(config)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_there_and_back_is_bit_identical(case, dtype):
    config, arrays = CASES[case], weights(CASES[case], dtype)
    plan = KERAS.plan(config)
    there = Pipe(MemorySource(arrays), plan)
    back = Pipe(there, plan.inverse())
    assert set(back.tensors) == set(arrays)
    for name, array in arrays.items():
        found = back.read(name)
        assert found.dtype == np_dtype(dtype)
        assert found.tobytes() == array.tobytes()
    for name, info in there.tensors.items():
        array = there.read(name)
        assert (str(array.dtype), array.shape) == (info.dtype, info.shape)
        assert array.flags.c_contiguous


SMALL = st.integers(1, 3)


@settings(max_examples=60, deadline=None)
@given(
    dims=st.sampled_from([2, 3]),
    heads=SMALL,
    head_dim=SMALL,
    patch=st.tuples(SMALL, SMALL, SMALL),
    width=st.integers(1, 7),
    depth=st.integers(1, 11),
    classes=st.integers(0, 4),
    flags=st.fixed_dictionaries(
        {
            "qkv_bias": st.sampled_from([True, False, "qv"]),
            "qk_norm": st.booleans(),
            "pre_norm": st.booleans(),
            "patch_norm": st.sampled_from(["none", "post", "dual"]),
            "init_values": st.sampled_from([None, 0.5]),
            "reg_tokens": st.integers(0, 2),
            "global_pool": st.sampled_from(["token", "avg", "max", "token_avg"]),
            "fc_norm": st.booleans(),
            "final_norm": st.booleans(),
        }
    ),
)
def test_any_config_there_and_back(
    dims, heads, head_dim, patch, width, depth, classes, flags
):
    config = ViTConfig(
        spatial_dims=dims,
        img_size=tuple(2 * p for p in patch[:dims]),
        patch_size=patch[:dims],
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        head_dim=head_dim,
        mlp_dim=width + 1,
        num_classes=classes,
        **flags,
    )
    plan = KERAS.plan(config)
    random = np.random.default_rng(0)
    for step in plan.steps:
        array = random.standard_normal(step.source_shape).astype(np.float32)
        (made,) = apply(step, [array])
        assert made.shape == step.target_shape
        (back,) = apply(step.inverse(), [made])
        assert back.tobytes() == array.tobytes()


# ---- what later tables need: several names for one tensor ------------------------


def test_split_and_merge_of_parts():
    row = Row(
        ("l.{i}.q.weight", "l.{i}.k.weight", "l.{i}.v.weight"),
        ("blocks.{i}.attn.qkv.weight",),
        "s (h e) d -> (s h e) d",
    )
    plan = Table("parts", (row,)).plan(CASES["features"])
    names = [f"l.{i}.{part}.weight" for i in range(2) for part in "qkv"]
    assert list(plan.source_shapes) == names
    arrays = {
        name: np.full((24, 24), number, np.float32) for number, name in enumerate(names)
    }
    merged = Pipe(MemorySource(arrays), plan)
    fused = merged.read("blocks.1.attn.qkv.weight")
    assert fused.shape == (72, 24)
    assert [fused[row, 0] for row in (0, 24, 48)] == [3, 4, 5]
    split = Pipe(merged, plan.inverse())
    for name in reversed(names):
        assert split.read(name).tobytes() == arrays[name].tobytes()


def test_number_of_parts_must_be_the_length_of_their_axis():
    row = Row(("q", "k"), ("qkv",), "s (h e) d -> (s h e) d")
    with pytest.raises(TableError, match="2 parts, axis of 3"):
        Table("parts", (row,)).plan(CASES["features"])


def test_step_keeps_identity_apart_from_renaming_parts():
    identity = Step(("a",), ("b",), "d -> d", ((2,),), ((2,),), (("d", 2),))
    assert identity.identity
    assert not replace(identity, sources=("a", "c")).identity


# ---- parts of unequal size -------------------------------------------------------

FUSED = Row(("in_proj",), ("q", "kv"), joined("o d + (t o) d"))


def unequal(row: Row = FUSED) -> Table:
    return Table("unequal", (row,))


def test_unequal_parts_are_joined_and_taken_apart() -> None:
    config = CASES["features"]
    plan = unequal().plan(config)
    width = config.embed_dim
    assert plan.source_shapes == {"in_proj": (3 * width, width)}
    assert plan.target_shapes == {"q": (width, width), "kv": (2 * width, width)}
    whole = np.arange(3 * width * width, dtype=np.float32).reshape(3 * width, width)
    apart = Pipe(MemorySource({"in_proj": whole}), plan)
    assert {n: t.shape for n, t in apart.tensors.items()} == plan.target_shapes
    assert np.array_equal(apart.read("kv"), whole[width:])  # in any order
    assert np.array_equal(apart.read("q"), whole[:width])
    back = Pipe(apart, plan.inverse())
    assert np.array_equal(back.read("in_proj"), whole)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (Row(("w",), ("q", "kv"), "o d + (t o) d -> o d + o d"), "written alike"),
        (Row(("w",), ("q", "k", "v"), joined("o d + (t o) d")), "as many names"),
        (Row(("v", "w"), ("q", "kv"), joined("o d + (t o) d")), "as many names"),
        (Row(("w",), ("q", ""), joined("o d + (t o) d")), "as many names"),
        (Row(("w",), ("q", "kv"), joined("o d + (t o) m")), "first axis only"),
        (Row(("w",), ("q", "kv"), joined("o d + (t z) d")), "unknown axes"),
        (Row(("w",), ("q", "kv"), joined("o o + (t d) o")), "stands twice"),
        (Row(("w",), ("q/kernel", "kv/kernel"), joined("o d + (t o) d")), "transpose"),
    ],
)
def test_laws_of_unequal_parts(row: Row, text: str) -> None:
    with pytest.raises(TableError, match=text):
        unequal(row)
