"""Messages name what can be given: options on the command line, arguments in Python."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import converters
from converters.cli.app import app
from converters.cli.reading import Reading
from converters.sources.request import Asked, parse_changes
from converters.wording import (
    COMMAND_LINE,
    PRETRAINED,
    PYTEST,
    Blank,
    option,
    options,
    setting,
    speaking,
)

READERS = (
    *(converters.convert, converters.inspect, converters.verify, converters.export),
    *(converters.predict, converters.embed, converters.bench, converters.quantize),
    converters.attention,
)


def test_a_message_is_in_the_terms_of_who_reads_it() -> None:
    def said() -> tuple[str, ...]:
        return option("from_dialect"), options(
            prefix="m.", drop=["a b", "c"], card=False
        )

    assert said() == ("from_dialect=", 'prefix="m.", drop=["a b", "c"], card=False')
    with speaking(COMMAND_LINE):
        assert said() == ("--from", "--prefix m. --drop 'a b' --drop c --no-card")
        with speaking(PYTEST):
            assert said()[0] == "--parity-dialect"
        assert said()[0] == "--from"
    with speaking(PRETRAINED):
        assert option("from_dialect") == "dialect="
    assert said()[0] == "from_dialect="


@pytest.mark.parametrize(
    "value",
    [
        "gelu",
        "none",
        "null",
        "a b",
        "12",
        'q"uote',
        None,
        True,
        0.5,
        [2, 3],
        ["X", "Y"],
    ],
)
def test_what_a_message_says_to_type_is_read_back_as_it_was_meant(
    value: object,
) -> None:
    fields_ = {"one": value, "data.two": value}
    assert eval(f"dict({setting(**fields_)})") == {"changes": fields_}
    with speaking(COMMAND_LINE):
        words = shlex.split(setting(**fields_))
    assert words[::2] == ["--set", "--set"] and parse_changes(words[1::2]) == fields_


def test_a_blank_stands_without_quotes() -> None:
    assert setting(num_heads=Blank("N")) == 'changes={"num_heads": N}'
    with speaking(COMMAND_LINE):
        assert setting(num_heads=Blank("N")) == "--set num_heads=N"


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_every_function_that_reads_takes_the_same(reader: object) -> None:
    """And every command: `Reading` stands for all of its options."""
    asked = inspect.signature(Asked.by).parameters
    own = inspect.signature(reader).parameters  # type: ignore[arg-type]
    for name, parameter in asked.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            assert repr(own[name].default) == repr(parameter.default), name
    assert {field.name for field in fields(Reading)} <= set(own)
    name = reader.__name__  # type: ignore[attr-defined]
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).stdout
    with speaking(COMMAND_LINE):
        assert all(option(field.name) in shown for field in fields(Reading))


def test_the_same_refusal_names_options_and_arguments(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros(3, np.float32))
    with pytest.raises(converters.ConversionError) as error:
        converters.convert(path, tmp_path / "b.safetensors")
    assert "from_dialect=" in str(error.value) and "--" not in str(error.value)
    words = ["convert", str(path), str(tmp_path / "b.safetensors")]
    told = CliRunner().invoke(app, words).stderr
    assert "--from" in told and "from_dialect=" not in told


ONLY_TYPED = (
    # modules whose words only the command line prints, or that are no messages
    *("cli", "demo", "pytest_plugin", "serving", "parity/output.py"),
    *("parity/text.py", "parity/record.py", "workers/device.py", "wording.py"),
    *("parity/selftest/table.py", "libraries/listing.py"),
)


def test_no_message_spells_an_option_out() -> None:
    """It would be wrong in Python; `converters.wording` says it in either."""
    found = []
    root = Path(converters.__file__).parent
    for package in (root, root.parent / "vit_config"):
        for path in package.rglob("*.py"):
            place = path.relative_to(package).as_posix()
            if place.startswith(ONLY_TYPED):
                continue
            tree = ast.parse(path.read_text())
            told = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
            found += [
                f"{place}:{node.lineno}: {node.value}"
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
                if id(node) not in told and re.search(r"(?<![\w-])--[a-z]", node.value)
            ]
    assert found == []
