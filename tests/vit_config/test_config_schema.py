"""The published JSON Schema is current and says what the reader accepts."""

from __future__ import annotations

import importlib.util
import json
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest

from vit_config import ViTConfig

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "make_schema.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_schema", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_published_schema_is_current(tool: ModuleType) -> None:
    text = resources.files("vit_config").joinpath("schema.json").read_text("utf-8")
    # As values: the oldest pydantic writes a bound of 0 as 0.0.
    assert json.loads(text) == tool.published_schema()


def test_check_finds_a_stale_file(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "PATH", tmp_path / "schema.json")
    assert tool.main(["--check"]) == 1
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0
    stale = tool.published_text().replace('"depth"', '"deep"')
    tool.PATH.write_text(stale, encoding="utf-8")
    assert tool.main(["--check"]) == 1


def test_schema_has_every_field_described(tool: ModuleType) -> None:
    schema = tool.published_schema()
    fields = ViTConfig.model_fields
    assert set(schema["properties"]) == set(fields)
    required = {name for name, field in fields.items() if field.is_required()}
    assert set(schema["required"]) == required
    sections = [schema, *schema["$defs"].values()]
    for section in sections:
        assert section["additionalProperties"] is False
        for name, field in section["properties"].items():
            assert field.get("description"), name


def test_a_size_may_be_one_integer(tool: ModuleType) -> None:
    for name in ("img_size", "patch_size"):
        kinds = [
            kind["type"]
            for kind in tool.published_schema()["properties"][name]["anyOf"]
        ]
        assert kinds == ["integer", "array"]
