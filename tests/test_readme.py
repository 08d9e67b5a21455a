"""The README's snippets run as they stand, section by section, in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- ci:\w+ -->\n)?```(python|bash)\n(.*?)```", re.DOTALL)


def sections(text: str) -> dict[str, list[tuple[str, str]]]:
    """Heading -> its (language, code) blocks; set-up commands left to CI."""
    found: dict[str, list[tuple[str, str]]] = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        blocks = [(m[2], m[3]) for m in BLOCK.finditer(body) if not m[1]]
        if blocks:
            found[heading.strip()] = blocks
    return found


README = sections((ROOT / "README.md").read_text())


def test_the_three_jobs_have_snippets() -> None:
    assert {"Convert", "Verify", "Import"} <= README.keys()


@pytest.mark.parametrize("heading", README)
def test_snippets_of_section_run(heading: str, tmp_path: Path) -> None:
    if shutil.which("vit-duet", path=Path(sys.executable).parent) is None:
        pytest.skip("the vit-duet command is not installed")
    # A later section may use what an earlier one wrote: run those first, too.
    order = list(README)
    needed = ["Convert", heading] if heading == "Verify" else [heading]
    for name in sorted(needed, key=order.index):
        for language, code in README[name]:
            run(language, code, tmp_path)


def run(language: str, code: str, folder: Path) -> None:
    command = {
        "python": [sys.executable, "-W", "error::UserWarning:__main__", "-c", code],
        "bash": ["bash", "-euo", "pipefail", "-c", code],
    }[language]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, f"{code}\n{result.stdout}\n{result.stderr}"
