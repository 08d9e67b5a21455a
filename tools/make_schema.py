"""Writes vit_config/schema.json, the published JSON Schema of `ViTConfig`.

python tools/make_schema.py          writes the file
python tools/make_schema.py --check  exits with 1 if the file is not current
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # runs from a checkout that is not installed, too

from vit_config import (  # noqa: E402
    DataConfig,
    IntensityConfig,
    RopeConfig,
    SourceConfig,
    Statement,
    ViTConfig,
)

PATH = ROOT / "vit_config" / "schema.json"
SIZES = ("img_size", "patch_size")
SECTIONS = (DataConfig, IntensityConfig, RopeConfig, SourceConfig, Statement)


def published_schema() -> dict[str, Any]:
    """Makes the schema: pydantic's, with descriptions, one spelling of a constant."""
    schema = ViTConfig.model_json_schema()
    sections = {"": schema, **{f"/{k}": v for k, v in schema["$defs"].items()}}
    models = {f"/{m.__name__}": m for m in SECTIONS}
    for path, model in {"": ViTConfig, **models}.items():
        describe(sections[path], model)
    for name in SIZES:  # the reader repeats a single integer
        size = schema["properties"][name]
        size["anyOf"] = [
            {"type": "integer", "minimum": 1},
            {key: size.pop(key) for key in ("type", "items")},
        ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **plain(schema),
        "title": "vit-duet configuration",
    }


def describe(section: dict[str, Any], model: type[BaseModel]) -> None:
    """Takes the descriptions from the "Attributes" of the docstring."""
    doc = inspect.cleandoc(model.__doc__ or "")
    text, _, attributes = doc.partition("\nAttributes:\n")
    section["description"] = " ".join(text.partition("\nRaises:")[0].split())
    found = re.split(r"^    (\w+): ", attributes, flags=re.MULTILINE)[1:]
    for name, words in zip(found[::2], found[1::2], strict=True):
        section["properties"][name]["description"] = " ".join(words.split())


def plain(schema: Any) -> Any:
    """Drops what pydantic makes of our names, and says one-value enums one way.

    Pydantic before 2.10 writes an enum beside the const.
    """
    if isinstance(schema, list):
        return [plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    titled = isinstance(schema.get("title"), str)
    drop = {key for key in ("title",) if titled}
    if "const" in schema:
        drop.add("enum")
    return {key: plain(value) for key, value in schema.items() if key not in drop}


def published_text() -> str:
    """The file's content."""
    return json.dumps(published_schema(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Writes or checks the file; returns the exit code."""
    if arguments == ["--check"]:
        # As values: the oldest pydantic writes a bound of 0 as 0.0.
        if PATH.exists() and json.loads(PATH.read_bytes()) == published_schema():
            return 0
        print("schema.json is not current: python tools/make_schema.py")
        return 1
    if arguments:
        print(__doc__)
        return 2
    PATH.write_text(published_text(), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
