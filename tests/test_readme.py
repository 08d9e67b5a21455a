"""The README's snippets run as they stand, section by section, in one empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
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


@pytest.fixture(scope="module")
def follow(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    """Runs a section in the folder of this file's tests, unless it has been run."""
    folder, done = tmp_path_factory.mktemp("readme"), set()

    def section(heading: str) -> None:
        if heading not in done:
            for language, code in README[heading]:
                run(language, code, folder)
            done.add(heading)

    return section


@pytest.mark.parametrize("heading", README)
def test_snippets_of_section_run(heading: str, follow: Callable[[str], None]) -> None:
    if shutil.which("vit-duet", path=Path(sys.executable).parent) is None:
        pytest.skip("the vit-duet command is not installed")
    if heading == "Verify":
        follow("Convert")  # what it writes is needed here
    follow(heading)


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
