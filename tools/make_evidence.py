"""Makes `converters/libraries/evidence.json`: what each dialect was compared with.

Run from the root of the repository, in any environment that has this package; the table
of dialects in the README is brought up to date, too:

    python tools/make_evidence.py

It counts what the other tools recorded: `tests/dialects/keys` (names, shapes and values
of the library's own models), `tests/dialects/files` (files of libraries, and what the
library computes from them in float64), `tests/golden/keras_hub` and
`tests/golden/tf_model` (presets and TensorFlow files, likewise).
A test holds the file to them.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "tests" / "dialects"
TARGET = ROOT / "converters" / "libraries" / "evidence.json"
README = ROOT / "README.md"
MARK = "<!-- vit-duet table --dialects --markdown -->\n"

KEYS = {
    # file of keys: dialect, and which of the recorded versions is the library's; the
    # others follow the names of the files.
    "huggingface": ("huggingface", "transformers"),
    "huggingface4": ("huggingface", "transformers"),
    "jax_npz": ("jax", "timm"),
    "lucidrains": ("lucidrains", "vit-pytorch"),
    "openai_clip": ("openai_clip", "open_clip_torch"),
}

Counts = Counter[tuple[str, str, str, str]]
"""Number by dialect, library, version and kind: `"names"` or `"outputs"`."""


def keys(counts: Counts) -> None:
    """Models whose names, shapes and values were recorded."""
    for path in sorted((RECORDS / "keys").glob("*.json")):
        dialect, library = KEYS.get(path.stem, (path.stem, path.stem))
        content = json.loads(path.read_text("utf-8"))
        version = content["versions"][library]
        counts[dialect, library, version, "names"] += len(content["models"])


def files(counts: Counts) -> None:
    """Files whose outputs were recorded."""
    for path in sorted((RECORDS / "files").glob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            case = json.loads(file.metadata()["case"])
        library, _, version = case["library"].partition(" ")
        if "/" in library:  # a repository and its commit
            version = version[:7]
        version = version or case["versions"][library].partition("+")[0]
        counts[case["dialect"].partition("@")[0], library, version, "outputs"] += 1


FOLDERS = {
    # folder of goldens: dialect, library, and what its version is called there
    "keras_hub": ("keras_hub", "keras-hub", "keras_hub"),
    "tf_model": ("huggingface", "transformers", "transformers"),
}


def folders(counts: Counts) -> None:
    """Folders that a library wrote, with recorded outputs."""
    for folder, (dialect, library, key) in FOLDERS.items():
        for path in sorted(
            (ROOT / "tests" / "golden").glob(f"{folder}/*/versions.json")
        ):
            if (path.parent / "outputs.npz").exists():
                version = json.loads(path.read_text("utf-8"))[key]
                counts[dialect, library, version, "outputs"] += 1


def evidence() -> dict[str, list[dict[str, Any]]]:
    """By dialect: library, version, and how many models of it were compared."""
    counts: Counts = Counter()
    keys(counts)
    files(counts)
    folders(counts)
    found: dict[str, list[dict[str, Any]]] = {}
    entries = sorted(
        {entry[:3] for entry in counts},
        key=lambda entry: (entry[0], entry[1].lower(), _number(entry[2])),
    )
    for dialect, library, version in entries:
        kinds = {k: counts[dialect, library, version, k] for k in ("names", "outputs")}
        found.setdefault(dialect, []).append(
            {"library": library, "version": version, **kinds}
        )
    return found


def _number(version: str) -> tuple[int, ...]:
    """Newest first; commits have no order."""
    parts = version.split(".")
    return tuple(-int(p) for p in parts) if all(p.isdecimal() for p in parts) else ()


def text() -> str:
    """The file: a line an entry."""
    blocks = []
    for dialect, entries in evidence().items():
        lines = ",\n".join(f"  {json.dumps(entry)}" for entry in entries)
        blocks.append(f" {json.dumps(dialect)}: [\n{lines}\n ]")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def with_table(readme: str) -> str:
    """The README with the table as it is now."""
    from converters.libraries.listing import listed, markdown

    before, mark, rest = readme.partition(MARK)
    _, blank, after = rest.partition("\n\n")
    return before + mark + markdown(listed()) + blank + after


def main() -> None:
    TARGET.write_text(text(), encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {len(evidence())} dialects")
    README.write_text(with_table(README.read_text("utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
