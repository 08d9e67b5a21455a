"""A difference is told once: where it begins by the fields, why by the explanation."""

from __future__ import annotations

import pytest

from converters.parity.blame import blame, weights_of
from converters.parity.page import render_markdown
from converters.parity.parts import parts
from converters.parity.record import Divergence, ParityReport
from converters.parity.text import as_text
from tests.laboratory import reports
from tests.laboratory.common import FLAT, VOLUME

SUBJECT = "B, Keras on jax"
TAP = "blocks.1.norm1"
GAIN = f"{TAP}.weight"


def of(**more: object) -> Divergence:
    asked = {"subject": SUBJECT, "tap": TAP, "forced": True, "index": (0, 3, 5)}
    return blame(**(asked | {"config": FLAT, "wrong": ()} | more))  # type: ignore[arg-type]


FOUND = {
    "weight": of(wrong=(GAIN, "head.weight")),
    "field": of(hypothesis="norm_eps = 0.001"),
    "step": of(),
    "cumulative": of(forced=False, wrong=("head.weight",)),
}
SAID = {
    "weight": (f"Not the reference's in memory: {GAIN}", (GAIN,), ()),
    "field": ("It is what norm_eps = 0.001 would give", (), ("norm_eps",)),
    "step": (
        f"Wrong even if fed with the right input; it depends on norm_eps, {GAIN}, "
        f"{TAP}.bias",
        (GAIN, f"{TAP}.bias"),
        ("norm_eps",),
    ),
    "cumulative": (
        f"Wrong fed with what came before; it depends on norm_eps, {GAIN}, {TAP}.bias",
        (),
        ("norm_eps",),
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_explanation_says_why_and_the_fields_where(name: str) -> None:
    found = FOUND[name]
    assert (found.subject, found.tap, found.index) == (SUBJECT, TAP, (0, 3, 5))
    assert (found.explanation, found.tensors, found.fields) == SAID[name]


@pytest.mark.parametrize("config", [FLAT, VOLUME])
def test_no_step_is_explained_by_where_it_is(config) -> None:
    for part in parts(config):
        found = of(tap=part.name, config=config)
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
        f"Likely cause: {SUBJECT}: the difference begins at {TAP}. {found.explanation}."
    )
    (line,) = [
        line
        for line in render_markdown(with_one(found)).splitlines()
        if line.startswith("- **The difference begins at")
    ]
    assert f"begins at <code>{TAP}</code>.**" in line
    assert line.count(f"({SUBJECT})") == 1
    assert line.count("begins") == 1
    again = ParityReport.from_json(with_one(found).to_json())
    assert again.divergences == (found,)


def test_the_files_own_differences_name_no_subject() -> None:
    found = Divergence(tensors=(GAIN,), explanation=f"{GAIN} is all zero")
    assert f"Likely cause: {GAIN} is all zero." in as_text(with_one(found))
