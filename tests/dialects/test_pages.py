"""One page a dialect: every command in it prints what stands there, in order."""

from __future__ import annotations

import importlib
import re
import warnings

import pytest

from converters import libraries as dialects
from tests.dialects.page_sources import PAGES, SOURCES
from tests.pages import CODE, call, examples, shown

pytest.importorskip("torch")

SECTIONS = ["Load", "Features", "Round trip", "Limits"]
WITH_CODE = [
    name for name in SOURCES if CODE.search((PAGES / f"{name}.md").read_text())
]


def test_every_dialect_has_a_page_and_the_readme_names_it():
    pages = {path.stem for path in PAGES.glob("*.md")}
    assert pages == set(SOURCES) == set(dialects.NAMES)
    readme = (PAGES.parents[1] / "README.md").read_text("utf-8")
    assert all(f"(docs/dialects/{name}.md)" in readme for name in pages)


@pytest.mark.parametrize("name", SOURCES)
def test_page_shows_what_is_printed(name, tmp_path, monkeypatch):
    page = PAGES / f"{name}.md"
    headings = re.findall(r"^## (.*)$", page.read_text("utf-8"), re.MULTILINE)
    assert headings[:4] == SECTIONS
    SOURCES[name](tmp_path)
    monkeypatch.chdir(tmp_path)
    found = examples(page)
    assert len(found) >= 3
    for line, output in found:
        assert shown(call(line).output) == shown(output), line
    # Each page shows a model that went through, and came back where it can.
    proved = [output for _, output in found if "bit-identical" in output]
    assert len(proved) >= 2


@pytest.mark.peers
@pytest.mark.parametrize("name", WITH_CODE)
def test_live_model_of_the_page(name, tmp_path, monkeypatch):
    (code,) = CODE.findall((PAGES / f"{name}.md").read_text("utf-8"))
    library = next(m for m in re.findall(r"^(?:import|from) (\w+)", code, re.M))
    pytest.importorskip(library)
    importlib.import_module(library)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own
        exec(compile(code, name, "exec"), {})
    assert (tmp_path / "live.safetensors").exists()
