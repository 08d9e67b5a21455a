"""Brings what commands print in `docs/dialects` up to date.

Run from the root of the repository, where the tests' packages are installed:

    python tools/make_pages.py [PAGE ...]

Every command of a page is run, one after the other, in a folder with the sources that
the tests make for it; a block is replaced where the output is another one. Without
arguments `docs/assumptions.md` is written, too.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from converters.libraries.listing import assumptions_page  # noqa: E402
from tests.dialects.page_sources import PAGES, SOURCES  # noqa: E402
from tests.pages import refreshed  # noqa: E402


def main() -> None:
    for name in sys.argv[1:] or SOURCES:
        page = PAGES / f"{name}.md"
        with tempfile.TemporaryDirectory() as folder:
            SOURCES[name](Path(folder))
            os.chdir(folder)
            text = refreshed(page)
            os.chdir(ROOT)
        page.write_text(text, encoding="utf-8")
        print(page.relative_to(ROOT))
    if not sys.argv[1:]:
        page = ROOT / "docs" / "assumptions.md"
        page.write_text(assumptions_page(), encoding="utf-8")
        print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
