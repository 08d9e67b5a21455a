"""Single fields of a config's sections are set by a name with a dot."""

from __future__ import annotations

import pytest

from tests.preprocess.common import DATA, config
from vit_config import ConfigError, ViTConfig
from vit_config.changes import with_changes


def test_one_field_of_a_section_leaves_the_others():
    before = config()
    after = before.replace(**{"data.crop_mode": "squash", "depth": 3})
    assert after.data.crop_mode == "squash" != before.data.crop_mode
    assert after.depth == 3
    assert after.data.mean == DATA["mean"]
    back = after.replace(**{"data.crop_mode": DATA["crop_mode"], "depth": before.depth})
    assert back == before


def test_sections_are_made_and_taken_away():
    bare = config().replace(data=None)
    one = bare.replace(**{"data.crop_pct": 0.5, "source.name": "somebody/some-vit"})
    assert one.data.crop_pct == 0.5 and one.data.mean is None
    assert one.source.name == "somebody/some-vit"
    assert one.replace(data=None, source=None) == bare
    both = bare.replace(**{"data": {"crop_pct": 0.9}, "data.crop_mode": "squash"})
    assert (both.data.crop_pct, both.data.crop_mode) == (0.9, "squash")


def test_a_preset_takes_them_too():
    made = ViTConfig.preset("vit-b16-224", **{"data.crop_pct": 0.5})
    assert made.data.crop_pct == 0.5
    assert made.architecture() == ViTConfig.preset("vit-b16-224").architecture()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.sharpness", r"data\.sharpness: not a field of data"),
        ("depth.x", "depth has no fields; it is 1"),
        ("labels.0", "labels"),
        ("nothing.x", "nothing: not a field"),
    ],
)
def test_what_is_no_field_is_refused(name, text):
    with pytest.raises(ConfigError, match=text):
        config().replace(**{name: 1})


def test_given_fields_stay_as_they_are():
    fields = {"data": {"crop_pct": 0.5}}
    with_changes(fields, {"data.crop_pct": 0.9, "data.mean": [0.5]})
    assert fields == {"data": {"crop_pct": 0.5}}
