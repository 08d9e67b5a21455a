"""The separable matrices against torch, SciPy and JAX, and against the libraries."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from converters.steps.resample import (
    OFFSET,
    RULES,
    axis_matrix,
    resample,
    resample_positions,
    resize_kernel,
)
from tests.fill import fill
from vit_config.config import PosResize

LENGTHS = st.integers(1, 40)
GRIDS = st.tuples(LENGTHS, LENGTHS)
VOLUMES = st.tuples(*[st.integers(1, 12)] * 3)


def values(shape: tuple[int, ...]) -> np.ndarray:
    return fill("pos_embed", shape)


@lru_cache(maxsize=1)
def interpolate():
    functional = pytest.importorskip("torch.nn.functional")
    torch = pytest.importorskip("torch")

    def call(array: np.ndarray, **options) -> np.ndarray:
        moved = torch.from_numpy(np.moveaxis(array, -1, 0)[None].copy())
        return np.moveaxis(functional.interpolate(moved, **options)[0].numpy(), 0, -1)

    return call


def by_torch(array: np.ndarray, size: tuple[int, ...], rule: str) -> np.ndarray:
    if rule == "bicubic_offset":
        scale = tuple(
            (m + OFFSET) / n for n, m in zip(array.shape[:-1], size, strict=True)
        )
        return interpolate()(array, scale_factor=scale, mode="bicubic")
    options = {
        "bicubic_aa": {"mode": "bicubic", "antialias": True},
        "bicubic": {"mode": "bicubic"},
        "bicubic_align": {"mode": "bicubic", "align_corners": True},
        "bilinear": {"mode": "bilinear"},
        "bilinear_aa": {"mode": "bilinear", "antialias": True},
    }[rule]
    return interpolate()(array, size=size, **options)


TORCH_RULES = [rule for rule in RULES if rule != "zoom1"]


def test_rules_are_those_of_the_schema():
    assert PosResize.__args__ == RULES


@pytest.mark.parametrize("rule", TORCH_RULES)
@settings(max_examples=40, deadline=None)
@given(old=GRIDS, new=GRIDS)
@example(old=(37, 37), new=(16, 16))
@example(old=(14, 14), new=(24, 24))
@example(old=(14, 10), new=(14, 23))
@example(old=(2, 3), new=(1, 1))
@example(old=(3, 1), new=(40, 7))
def test_two_axes_as_torch(rule, old, new):
    array = values((*old, 2))
    if rule.endswith("_aa") and 1 in (old[1], new[1]):
        # torch 2.13 is wrong here, see below: a wider array has the same columns.
        array = np.ascontiguousarray(array[:, :1].repeat(2, axis=1))
        new = (new[0], 2)
    made = resample(array, new, rule)
    assert np.abs(made - by_torch(array, new, rule)).max() < 1e-5
    double = by_torch(array.astype(np.float64), new, rule)
    assert np.abs(made - double).max() < 1e-12


def test_torch_itself_is_wrong_for_antialiasing_along_an_axis_of_one():
    """The reason for the exception above; when torch is mended, take both out."""
    column = values((7, 1, 3))
    right = by_torch(column.repeat(2, axis=1), (24, 2), "bilinear_aa")[:, :1]
    assert np.abs(resample(column, (24, 1), "bilinear_aa") - right).max() < 1e-5
    torch = pytest.importorskip("torch")
    wrong = torch.nn.functional.interpolate(
        torch.from_numpy(np.moveaxis(column, -1, 0)[None].copy()),
        size=(24, 1),
        mode="bilinear",
        antialias=True,
    )
    assert np.abs(np.moveaxis(wrong[0].numpy(), 0, -1) - right).max() > 0.1


@settings(max_examples=40, deadline=None)
@given(old=VOLUMES, new=VOLUMES)
@example(old=(8, 6, 6), new=(8, 6, 11))
@example(old=(1, 5, 4), new=(9, 5, 4))
def test_three_axes_as_torch_trilinear_by_size_and_by_factor(old, new):
    array = values((*old, 2))
    made = resample(array, new, "bilinear")
    wanted = interpolate()(array, size=new, mode="trilinear")
    assert np.abs(made - wanted).max() < 1e-5
    # V-JEPA passes the factor; a hair more, so that it never rounds down.
    scale = tuple((m + 1e-6) / n for n, m in zip(old, new, strict=True))
    wanted = interpolate()(array, scale_factor=scale, mode="trilinear")
    assert np.abs(made - wanted).max() < 1e-4


@settings(max_examples=40, deadline=None)
@given(old=VOLUMES, new=VOLUMES)
@example(old=(28, 24, 8), new=(14, 22, 26))
def test_zoom1_as_scipy(old, new):
    ndimage = pytest.importorskip("scipy.ndimage")
    array = values((*old, 2)).astype(np.float64)
    zoom = [*(m / n for n, m in zip(old, new, strict=True)), 1]
    wanted = ndimage.zoom(array, zoom, order=1, mode="nearest")
    assert wanted.shape == (*new, 2)
    assert np.abs(resample(array, new, "zoom1") - wanted).max() < 1e-12
    flat = ndimage.zoom(array[..., 0, :], [*zoom[:2], 1], order=1, mode="nearest")
    made = resample(array[..., 0, :], new[:2], "zoom1")
    assert np.abs(made - flat).max() < 1e-12


def test_scipy_by_default_loses_the_last_point_of_some_grids():
    """vit_jax's call: a coordinate rounds to a hair outside, which becomes 0."""
    ndimage = pytest.importorskip("scipy.ndimage")
    ones = np.ones(28)
    assert ndimage.zoom(ones, 14 / 28, order=1)[-1] == 0
    assert resample(ones, (14,), "zoom1")[-1] == 1


@pytest.mark.parametrize(
    ("rule", "method"), [("bilinear_aa", "linear"), ("bicubic_aa", "cubic")]
)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((16, 10), (7, 23)),
        ((7, 5), (7, 9)),
        ((6, 4, 5), (9, 2, 5)),
        ((3, 1, 4), (1, 6, 8)),
    ],
)
def test_antialiased_rules_as_jax(rule, method, old, new):
    image = pytest.importorskip("jax.image")
    array = values((*old, 2))
    wanted = image.resize(array, (*new, 2), method, antialias=True)
    assert np.abs(resample(array, new, rule) - np.asarray(wanted)).max() < 1e-5


@pytest.mark.parametrize("rule", RULES)
@given(source=LENGTHS, target=LENGTHS)
def test_constants_stay(rule, source, target):
    matrix = axis_matrix(rule, source, target)
    assert matrix.shape == (target, source)
    assert np.abs(matrix.sum(axis=1) - 1).max() < 1e-12


@pytest.mark.parametrize("rule", RULES)
@given(length=LENGTHS)
def test_an_axis_that_stays_is_untouched_but_for_the_offset(rule, length):
    matrix = axis_matrix(rule, length, length)
    same = np.abs(matrix - np.eye(length)).max() < 1e-12
    assert same == (rule != "bicubic_offset" or length == 1)


@pytest.mark.parametrize("rule", RULES)
def test_axes_are_resampled_in_any_order(rule):
    array = values((6, 5, 4, 2))
    made = resample(array, (3, 7, 9), rule)
    turned = resample(array.transpose(2, 0, 1, 3), (9, 3, 7), rule)
    assert np.abs(made - turned.transpose(1, 2, 0, 3)).max() < 1e-12


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize(
    ("old", "new"), [((4, 3), (6, 5)), ((4, 3), (4, 5)), ((4, 3, 2), (2, 5, 2))]
)
def test_prefix_rows_stay_and_patches_are_row_major(prefix, old, new):
    rows = prefix + math.prod(old)
    table = values((1, rows, 3))
    made = resample_positions(table, old, new, "bicubic")
    assert made.shape == (1, prefix + math.prod(new), 3)
    assert np.array_equal(made[0, :prefix], table[0, :prefix])
    grid = resample(table[0, prefix:].reshape(*old, 3), new, "bicubic")
    assert np.array_equal(made[0, prefix:].reshape(*new, 3), grid)


def test_the_same_grid_is_the_same_table():
    table = values((1, 13, 3))
    assert resample_positions(table, (4, 3), (4, 3), "bicubic_offset") is table


def test_a_table_too_short_is_refused():
    with pytest.raises(ValueError, match="11 rows"):
        resample_positions(values((1, 11, 3)), (4, 3), (8, 3), "bicubic")


@pytest.mark.parametrize("rule", ["bicubic_aa", "bilinear", "bilinear_aa", "bicubic"])
@pytest.mark.parametrize(
    ("old", "new"), [((4, 4), (8, 6)), ((3, 5), (7, 5)), ((2, 4, 3), (2, 8, 5))]
)
def test_larger_kernel_sees_resized_patches_as_the_old_one_saw_patches(rule, old, new):
    kernel = fill("patch_embed.proj.weight", (5, 2, *old)).astype(np.float64)
    patch = fill("patch", (2, *old)).astype(np.float64)
    before = (kernel * patch).reshape(5, -1).sum(axis=1)
    larger = resample(patch, new, rule, first=1)
    made = resize_kernel(kernel, new, rule)
    assert made.shape == (5, 2, *new)
    after = (made * larger).reshape(5, -1).sum(axis=1)
    assert np.abs(after - before).max() < 1e-10


@pytest.mark.parametrize("rule", ["bicubic_aa", "bilinear"])
def test_axes_of_a_kernel_invert_as_the_whole_matrix(rule):
    old, new = (4, 3, 2), (3, 6, 2)
    kernel = fill("patch_embed.proj.weight", (2, 2, *old)).astype(np.float64)
    whole = np.kron(
        np.kron(axis_matrix(rule, 4, 3), axis_matrix(rule, 3, 6)),
        axis_matrix(rule, 2, 2),
    )
    wanted = kernel.reshape(4, -1) @ np.linalg.pinv(whole)
    made = resize_kernel(kernel, new, rule)
    assert np.abs(made - wanted.reshape(made.shape)).max() < 1e-10
