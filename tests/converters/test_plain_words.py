"""No refusal speaks in the words of the library that validates."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from pydantic_core import _pydantic_core
from typer.testing import CliRunner

from converters import ConversionError, ParityReport, inspect
from converters.cli.app import app
from converters.judging.criteria import EXPECTED as LIMITS, read_criteria
from tests.converters.cases import CASES, write_canonical
from tests.laboratory import reports
from vit_config import (
    ConfigError,
    DataConfig,
    IntensityConfig,
    RopeConfig,
    SourceConfig,
    ViTConfig,
)

CONFIG = CASES["classes"]
PARTS = {
    "": ViTConfig,
    "data.": DataConfig,
    "data.intensity.": IntensityConfig,
    "rope.": RopeConfig,
    "source.": SourceConfig,
}
FIELDS = [f"{part}{name}" for part, of in PARTS.items() for name in of.model_fields]

TEMPLATES = [
    one["message_template_python"].partition("{")[0].strip()
    for one in _pydantic_core.list_all_errors()
]
PHRASES = {
    *(text for text in TEMPLATES if len(text) > 7),
    *("pydantic", "validation error", "input_type", "[type=", "ErrorDetails"),
}

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-9, 10**6)
    | st.floats()
    | st.text("abcXYZ123._ é\n", max_size=9)
    | st.sampled_from(["tanh", "avg", "RAS", "bicubic", "window", "64x64", "2x"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["kind", "mean", "std", "x"]), inner)
    ),
    max_leaves=6,
)
CHANGES = st.dictionaries(st.sampled_from([*FIELDS, "dept", "data.meen"]), VALUES)
TIMES = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def in_our_words(error: BaseException | str) -> None:
    text = str(error)
    found = {phrase for phrase in PHRASES if phrase.lower() in text.lower()}
    assert not found, (found, text)


def test_the_phrases_are_those_of_the_library():
    assert "Input should be a valid integer" in PHRASES
    assert "Field required" in PHRASES and len(PHRASES) > 50
    with pytest.raises(AssertionError):
        in_our_words("a: Input should be a valid integer, unable to parse")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_canonical(tmp_path_factory.mktemp("m") / "a.safetensors", CONFIG)


@TIMES
@given(changes=CHANGES)
@example(changes={"depth": "3", "qkv_bias": 5, "data": {"mean": 3, "x": 1}})
@example(changes={"data.intensity": {"kind": 1, "low": math.nan}})
@example(changes={"source.stated": [{"field": 3}, 4]})
@example(changes={"labels": "ab", "img_size": [4.0, "x"]})
def test_no_config_is_refused_in_its_words(changes):
    dotless = {name: value for name, value in changes.items() if "." not in name}
    for work in (
        lambda: CONFIG.replace(**changes),
        lambda: ViTConfig(**{**CONFIG.to_dict(), **dotless}),
        lambda: ViTConfig.from_json(json.dumps({**CONFIG.to_dict(), **dotless})),
        lambda: ViTConfig.preset("vit-b16-224", **changes),
        lambda: ViTConfig(**dotless),
    ):
        try:
            work()
        except ConfigError as error:
            in_our_words(error)


@TIMES
@given(part=st.sampled_from(list(PARTS.values())), value=VALUES, data=st.data())
def test_no_part_of_a_config_is_refused_in_its_words(part, value, data):
    name = data.draw(st.sampled_from([*part.model_fields, "x"]))
    with suppress(ConfigError) as _:
        try:
            part(**{name: value})
        except ConfigError as error:
            in_our_words(error)
            raise
    with pytest.raises(ConfigError) as refused:
        setattr(CONFIG, name, value)
    in_our_words(refused.value)


@settings(TIMES, max_examples=60)
@given(changes=CHANGES)
def test_no_source_is_refused_in_its_words(changes, model):
    for given_ in ({"changes": changes}, {"config": {**CONFIG.to_dict(), **changes}}):
        try:
            inspect(model, **given_)
        except (ConfigError, ConversionError) as error:
            in_our_words(error)


@settings(TIMES, max_examples=40)
@given(field=st.sampled_from(FIELDS), value=VALUES)
@example(field="depth", value="3")
@example(field="data", value={"mean": "a"})
def test_no_command_refuses_in_its_words(field, value, model):
    words = ["--set", f"{field}={json.dumps(value)}"]
    found = CliRunner().invoke(app, ["inspect", str(model), *words])
    assert found.exit_code in (0, 1), found.exception
    in_our_words(found.output.replace(json.dumps(value), ""))


@TIMES
@given(limits=st.dictionaries(st.sampled_from([*LIMITS, "x"]), VALUES))
def test_no_limits_are_refused_in_its_words(limits):
    try:
        read_criteria(limits)
    except ConversionError as error:
        in_our_words(error)


@TIMES
@given(path=st.lists(st.integers(0, 40), max_size=4), value=VALUES)
@example(path=[], value=[])
def test_no_record_is_refused_in_its_words(path, value):
    whole = json.loads(reports.failed().to_json())
    changed, inner = whole, whole
    for step in path[:-1]:
        items = list(inner.values()) if isinstance(inner, dict) else inner
        if not items or not isinstance(items[step % len(items)], dict | list):
            break
        inner = items[step % len(items)]
    if not path:
        changed = value
    elif isinstance(inner, dict):
        inner[list(inner)[path[-1] % len(inner)] if inner else "x"] = value
    elif inner:
        inner[path[-1] % len(inner)] = value
    for text in (json.dumps(changed), json.dumps(changed)[:-1]):
        try:
            ParityReport.from_json(text)
        except ConversionError as error:
            in_our_words(error)


@pytest.mark.parametrize("case", ["classes", "volume"])
@pytest.mark.parametrize("write", [str, str.upper])
def test_sizes_are_set_as_image_size_is_given(case, write, tmp_path):
    c = CASES[case]
    path = write_canonical(tmp_path / "a.safetensors", c)
    sizes = {name: getattr(c, name) for name in ("img_size", "patch_size")}
    assert len(set(c.img_size)) == c.spatial_dims
    spelled = {name: write("x".join(map(str, size))) for name, size in sizes.items()}
    assert inspect(path, changes=spelled).config.architecture() == c.architecture()
    words = [f"--set={name}={text}" for name, text in spelled.items()]
    assert CliRunner().invoke(app, ["inspect", str(path), *words]).exit_code == 0
    turned = "x".join(map(str, reversed(c.img_size)))
    other = CliRunner().invoke(app, ["inspect", str(path), f"--set=img_size={turned}"])
    assert other.exit_code == 1 and "img_size" in other.output


@pytest.mark.parametrize(
    "text", ["64x", "x", "64xx32", "large", "64x6a", "-8x8", "٤x٤"]
)
def test_what_is_no_size_is_refused_with_one_that_is(text, model):
    with pytest.raises(ConversionError, match="expected a size like 224 or 224x224"):
        inspect(model, changes={"img_size": text})
