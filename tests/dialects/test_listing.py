"""The table of dialects: it says what the code does, and the README says the table."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from converters import ConversionError, convert, libraries as dialects
from converters.cli.app import app
from converters.conversion.folders import check_target
from converters.libraries.listing import Listed, grouped, listed, markdown
from tests.steps.common import write
from tools import make_evidence
from vit_config import ConfigError, ViTConfig

ROWS = listed()
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)

# Nothing that any dialect's files have: 24 wide, but heads of 5.
NOBODYS = ViTConfig(
    img_size=16,
    patch_size=8,
    embed_dim=24,
    depth=1,
    num_heads=3,
    head_dim=5,
    mlp_dim=24,
    norm_eps=0.25,
)


def call(*arguments: str):
    return CliRunner().invoke(app, ["table", *arguments])


def test_evidence_is_what_the_records_say():
    assert make_evidence.TARGET.read_text("utf-8") == make_evidence.text()


def test_readme_has_the_table():
    readme = make_evidence.README.read_text("utf-8")
    table, _, _ = readme.partition(make_evidence.MARK)[2].partition("\n\n")
    result = call("--dialects", "--markdown")
    assert result.exit_code == 0
    assert table == result.stdout.strip() == markdown(ROWS)


def test_every_dialect_has_a_row_and_evidence():
    assert tuple(row.name for row in ROWS) == dialects.NAMES
    known = {library for row in ROWS for library in row.evidence}
    assert len(known) == sum(len(row.evidence) for row in ROWS)
    assert all(e.names + e.outputs > 0 for e in known)
    assert set(make_evidence.evidence()) <= set(dialects.NAMES)


def test_json_is_the_same_table():
    found = json.loads(call("--dialects", "--json").stdout)
    assert found == json.loads(json.dumps([row.to_dict() for row in ROWS]))
    assert {"name", "read", "told", "written", "config", "evidence"} <= set(found[0])


@each
def test_what_is_read_and_written(row: Listed, tmp_path: Path):
    """`--to` refuses by that very reason what is not in the list, and nothing else."""
    source = write(tmp_path / "vit.safetensors", NOBODYS)
    for name in (*row.read, *row.told, *row.written):
        spec = row.name if name == row.name else f"{row.name}@{name}"
        _, variants = dialects.find(spec)
        target = tmp_path / "out.safetensors"
        with pytest.raises(ConversionError) as caught:
            convert(source, target, to_dialect=variants[0].name)
        refused = "can be read, but is not written" in str(caught.value)
        assert refused == (name not in row.written), name


@each
def test_where_configs_come_from(row: Listed):
    with pytest.raises(ConfigError) as caught:
        ViTConfig.from_dialect(row.name, {"surely": "not a field"})
    assert (f"found {row.name!r}" not in str(caught.value)) == row.config
    try:
        home = import_module(f"converters.libraries.{row.name}.live")
    except ModuleNotFoundError:
        home = None
    assert bool(home and home.ROOTS) == row.live


@each
def test_folders(row: Listed, tmp_path: Path):
    if row.folder:
        assert check_target(tmp_path / "folder", row.name, None) == "folder"
    else:
        with pytest.raises(ConversionError, match=r"a folder of|is not written"):
            check_target(tmp_path / "folder", row.name, None)


def test_variants_are_grouped_by_what_they_have_in_common():
    assert grouped(["vit", "vit+memory", "deit"]) == "vit (+memory), deit"
    assert grouped(["a+b", "c", "c+d", "c+e"]) == "a+b, c (+d, +e)"


def test_text_for_a_terminal_names_every_variant():
    text = call("--dialects").stdout
    for row in ROWS:
        assert f"{row.name}: {row.library}\n" in text
        assert all(entry.version in text for entry in row.evidence)


@pytest.mark.parametrize("line", [["--markdown"], ["vit-b16-224", "--dialects"]])
def test_wrong_usage(line: list[str]):
    assert call(*line).exit_code == 2
