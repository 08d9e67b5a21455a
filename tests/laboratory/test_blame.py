"""A difference is told once: where it begins by the fields, why by the explanation."""

from __future__ import annotations

import pytest

from converters.parity.blame import blame, weights_of
from converters.parity.page import render_markdown
from converters.parity.reasons import Reason
from converters.parity.record import Divergence, ParityReport
from converters.parity.text import as_text
from converters.workers.parts import parts
from tests.laboratory import reports
from tests.laboratory.common import FLAT, VOLUME

SUBJECT = "B, Keras on jax"
TAP = "blocks.1.norm1"
GAIN = f"{TAP}.weight"
DROPPING = FLAT.replace(proj_drop_rate=0.1)


def of(**more: object) -> Divergence:
    asked = {"subject": SUBJECT, "tap": TAP, "forced": True, "index": (0, 3, 5)}
    return blame(**(asked | {"config": FLAT, "wrong": ()} | more))  # type: ignore[arg-type]


FOUND = {
    "weight": of(wrong=(GAIN, "head.weight")),
    "field": of(reason=Reason("norm_eps = 0.001", ("norm_eps",))),
    "unknown": of(wrong=None),
    "step": of(),
    "cumulative": of(forced=False, wrong=("head.weight",)),
    "config": of(differing={"norm_eps", "act_layer"}),
    "guess": of(
        differing={"norm_eps"}, reason=Reason("norm_eps = 0.001", ("norm_eps",))
    ),
    "other": of(differing={"norm_eps"}, reason=Reason("no norm", ("act_layer",))),
    "dropout": of(tap="blocks.0.mlp.fc2", forced=False, config=DROPPING),
    "fed": of(tap="blocks.0.mlp.fc2", config=DROPPING),
}
SAID = {
    "weight": (f"Not the reference's in memory: {GAIN}", (GAIN,), ()),
    "field": (
        "It is what norm_eps = 0.001 would give (norm_eps)",
        (),
        ("norm_eps",),
    ),
    "guess": (
        "It is what norm_eps = 0.001 would give (norm_eps)",
        (),
        ("norm_eps",),
    ),
    "config": (
        "Of this step B's config says another thing: norm_eps",
        (),
        ("norm_eps",),
    ),
    "other": (
        "Of this step B's config says another thing: norm_eps",
        (),
        ("norm_eps",),
    ),
    "dropout": (
        "Right by itself: is dropout on? proj_drop_rate",
        (),
        ("proj_drop_rate",),
    ),
    "fed": (
        "Wrong even if fed with the right input; it depends on mlp_bias",
        (),
        ("mlp_bias",),
    ),
    "step": (
        "Wrong even if fed with the right input; it depends on norm_eps",
        (),
        ("norm_eps",),
    ),
    "unknown": (
        f"Wrong even if fed with the right input; it depends on norm_eps, {GAIN}, "
        f"{TAP}.bias",
        (GAIN, f"{TAP}.bias"),
        ("norm_eps",),
    ),
    "cumulative": (
        "Wrong in the whole model; it depends on norm_eps",
        (),
        ("norm_eps",),
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_explanation_says_why_and_the_fields_where(name: str) -> None:
    found = FOUND[name]
    assert (found.subject, found.index) == (SUBJECT, (0, 3, 5))
    assert found.tap == (TAP if name not in ("dropout", "fed") else "blocks.0.mlp.fc2")
    assert (found.explanation, found.tensors, found.fields) == SAID[name]


@pytest.mark.parametrize("config", [FLAT, VOLUME])
def test_no_step_is_explained_by_where_it_is(config) -> None:
    for part in parts(config):
        found = of(tap=part.name, config=config, wrong=None)
        assert SUBJECT not in found.explanation
        assert "begins" not in found.explanation
        names = (*found.fields, *found.tensors)
        rest = found.explanation.partition("it depends on ")[2]
        assert rest.split(", ")[0].partition(" ")[0] in names or not names
        assert set(found.tensors) == set(weights_of(part, config))


def with_one(found: Divergence) -> ParityReport:
    return reports.failed().model_copy(update={"divergences": (found,)})


@pytest.mark.parametrize("name", FOUND)
def test_who_where_and_why_stand_once_on_screen_and_in_the_comment(name: str) -> None:
    found = FOUND[name]
    (line,) = [
        line
        for line in as_text(with_one(found)).splitlines()
        if line.startswith("Likely cause")
    ]
    assert line == (
        f"Likely cause: {SUBJECT}: the difference begins at {found.tap}. "
        f"{found.explanation}."
    )
    (line,) = [
        line
        for line in render_markdown(with_one(found)).splitlines()
        if line.startswith("- **The difference begins at")
    ]
    assert f"begins at <code>{found.tap}</code>.**" in line
    assert line.count(f"({SUBJECT})") == 1
    assert line.count("begins") == 1
    again = ParityReport.from_json(with_one(found).to_json())
    assert again.divergences == (found,)


def test_the_files_own_differences_name_no_subject() -> None:
    found = Divergence(tensors=(GAIN,), explanation=f"{GAIN} is all zero")
    assert f"Likely cause: {GAIN} is all zero." in as_text(with_one(found))
