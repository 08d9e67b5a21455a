"""How the suite is shared between processes."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
TOGETHER = ("parity", "saving")
"""Folders whose files share what a Keras process computed: one worker has them all."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups tests by file, or by folder, for `--dist loadgroup`."""
    for item in items:
        parts = item.path.relative_to(ROOT).parts
        group = parts[0] if parts[0] in TOGETHER else "/".join(parts)
        item.add_marker(pytest.mark.xdist_group(group))
