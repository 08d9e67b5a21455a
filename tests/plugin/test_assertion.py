"""`assert_parity`: what it accepts, and what it tells when it does not."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from converters import ConversionError, ParityReport, assert_parity
from converters.cli.app import app
from converters.parity.failure import command, explain
from converters.workers import process
from tests.laboratory import reports
from tests.laboratory.common import FLAT, save
from tests.plugin.common import QKV, checkpoint, other_row


def test_equal_models_give_their_report(tmp_path: Path) -> None:
    a, b = checkpoint(tmp_path), checkpoint(tmp_path, "b.keras")
    report = assert_parity(a, b, level="weights")
    assert isinstance(report, ParityReport)
    assert report.passed


def test_other_weights_raise_and_are_named(tmp_path: Path) -> None:
    a, b = checkpoint(tmp_path), save(tmp_path / "b.keras", FLAT, other_row)
    with pytest.raises(AssertionError) as error:
        assert_parity(a, b, level="weights")
    text = str(error.value)
    assert text.startswith("B is not the same model as A: ")
    assert f"{QKV} differs at 3 of axis 0 only" in text
    assert "Not checked" not in text


def test_what_cannot_be_read_is_refused_as_everywhere(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"B: none\.keras"):
        assert_parity(checkpoint(tmp_path), tmp_path / "none.keras")


def test_parts_that_cannot_run_fail_unless_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    a, same = checkpoint(tmp_path), checkpoint(tmp_path, "b.safetensors")
    with pytest.raises(AssertionError) as error:
        assert_parity(a, same)
    assert "Not checked:\n  logits  all" in str(error.value)
    assert "torch is not installed" in str(error.value)
    report = assert_parity(a, same, allow_unchecked=True)
    assert [check.subject for check in report.not_checked] == ["the torch twin"]
    assert "missing: the torch twin" in report.sentence
    other = save(tmp_path / "c.safetensors", FLAT, other_row)
    with pytest.raises(AssertionError, match="not the same model"):
        assert_parity(a, other, allow_unchecked=True)


def test_one_backend_may_be_named_without_a_list(tmp_path: Path) -> None:
    a = checkpoint(tmp_path)
    with pytest.raises(ConversionError, match="backend 'theano'; known are"):
        assert_parity(a, a, backends="theano")


def test_a_wrong_step_is_shown_among_its_neighbours(tmp_path: Path) -> None:
    """Run for real: the torch twin of a model with one other row of weights."""
    a, b = checkpoint(tmp_path), save(tmp_path / "b.safetensors", FLAT, other_row)
    with pytest.raises(AssertionError) as error:
        assert_parity(a, b, level="layers")
    lines = str(error.value).splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("Layers of"))
    assert "B, torch twin" in lines[begin]
    assert "limit 8" in lines[begin]
    rows = [line.split() for line in lines[begin + 2 : begin + 9]]
    marked = [row for row in rows if row[0] == ">"]
    assert [row[1] for row in marked] == ["blocks.1.attn.qkv"]
    assert marked[0].count("FAILED") == 2
    before = rows[: rows.index(marked[0])]
    assert [row[0] for row in before][-1] == "blocks.1.norm1"
    assert not any("FAILED" in row for row in before)
    assert all(float(row[1]) <= 8 for row in before)
    assert "FAILED" in rows[rows.index(marked[0]) + 1]
    kinds = [line for line in lines if line.split()[:2] == ["logits", "tokens"]]
    assert len(kinds) == 1, "one line for all kinds of input"
    assert "7 kinds" in kinds[0]


def test_the_message_is_short_and_its_columns_stand_below_each_other() -> None:
    text = explain(reports.failed(), "again")
    lines = text.splitlines()
    assert len(lines) < 30
    begin = next(i for i, line in enumerate(lines) if line.startswith("Layers of"))
    head, table = lines[begin + 1], lines[begin + 2 : begin + 9]
    for title in ("step", "from the input on", "alone"):
        column = head.index(title)
        assert all(line[column - 1] == " " != line[column] for line in table)
    assert sum(line.startswith("  > ") for line in table) == 1
    assert "the part of the keys is zero in B" in text
    assert text.endswith("To see it again:\n  again")


def test_a_part_of_the_checks_speaks_of_that_part_alone() -> None:
    report = reports.failed()
    mine = [check for check in report.checks if check.level == "layers"]
    text = explain(report, checks=mine)
    assert "each step alone" in text
    assert "every tensor" not in text
    assert "more checks failed" not in text


def test_the_command_in_the_message_does_the_same_again(tmp_path: Path) -> None:
    a, b = checkpoint(tmp_path), save(tmp_path / "a b.keras", FLAT, other_row)
    limits = tmp_path / "limits.json"
    limits.write_text('{"weights": "rounded"}')
    with pytest.raises(AssertionError) as error:
        assert_parity(
            a, b, level="weights", criteria=limits, changes={"norm_eps": 1e-6}, seed=3
        )
    words = shlex.split(str(error.value).splitlines()[-1])
    assert words[0] == "vit-duet"
    assert {"--criteria", "--set", "--seed"} < set(words)
    assert "--device" not in words, "what is the default is left out"
    result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 1
    assert str(error.value).splitlines()[0] in result.output


def test_a_call_stands_for_what_no_words_can_say() -> None:
    live = reports.failed()  # any object that has no path
    text = command(live, Path("b.keras"), {"level": "layers", "backends": ("jax",)})
    assert text.startswith("converters.verify(<converters.parity.record.ParityReport>")
    assert text.endswith("'b.keras', level='layers', backends=('jax',))")
    fields = command("a.pth", "b.keras", {"config": {"depth": 2}, "backends": ()})
    assert fields == "converters.verify('a.pth', 'b.keras', config={'depth': 2})"
