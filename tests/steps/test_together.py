"""Any steps of any model: taken and proved, or refused in words; never a traceback."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings, strategies as st
from safetensors.numpy import load_file

from converters import ConversionError, convert
from tests.cases import CASES
from tests.steps.common import write
from vit_config import ConfigError
from vit_config.weights import weight_table

SMALL = sorted(name for name in CASES if name not in ("wide", "deep"))

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "output": st.sampled_from(["logits", "pooled", "tokens"]),
        "num_classes": st.sampled_from([0, 1, 3, 6]),
        "in_chans": st.sampled_from([1, 2, 3, 5]),
        "patch_size": st.sampled_from([4, 8, "4x8", "4x8x8", 16]),
        "image_size": st.sampled_from([16, 32, 48, "32x48", "16x32x48", (64, 16)]),
        "dtype": st.sampled_from(["float32", "float16", "bfloat16"]),
        "inflation": st.fixed_dictionaries(
            {
                "inflate": st.sampled_from(["mean", "center"]),
                "depth": st.sampled_from([4, 8, 16]),
                "patch_depth": st.sampled_from([2, 4, None]),
            },
            optional={"inflate_axis": st.sampled_from([0, 1, 2])},
        ),
        "to_dialect": st.sampled_from(["timm", "monai", "torchvision", "huggingface"]),
        "fold": st.booleans(),
        "seed": st.integers(0, 3),
    },
)


def flat(options: dict[str, Any]) -> dict[str, Any]:
    options = dict(options)
    return {**options.pop("inflation", {}), **options}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    return {name: write(folder / f"{name}.safetensors", CASES[name]) for name in SMALL}


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(case=st.sampled_from(SMALL), options=OPTIONS)
def test_steps_go_together(case, options, sources, tmp_path):
    options = flat(options)
    target = tmp_path / "target.safetensors"
    target.unlink(missing_ok=True)
    try:
        report = convert(sources[case], target, **options)
    except (ConversionError, ConfigError) as error:
        event("refused")
        assert str(error) and list(tmp_path.iterdir()) == []
        return
    event(f"{len(report.steps)} steps")
    config = report.config
    own = config.source.steps if config.source else ()
    assert report.ok and own == report.steps
    assert len(set(report.steps)) == len(report.steps)
    if not report.steps:
        assert config == CASES[case]
    if not options.get("to_dialect"):
        made = load_file(target)
        shapes = {weight.name: weight.shape for weight in weight_table(config)}
        assert {name: array.shape for name, array in made.items()} == shapes
        assert {str(array.dtype) for array in made.values()} == {report.dtype}
    # Asked again of the result, the same steps find nothing to do, but for 3D from 2D.
    again = {k: v for k, v in options.items() if k not in ("to_dialect", "fold")}
    for option in ("inflate", "depth", "patch_depth", "inflate_axis"):
        again.pop(option, None)
    second = tmp_path / "second.safetensors"
    back = convert(target, second, **again)
    assert back.steps == ()
    second.unlink()
