r"""Writes what real libraries call the tensors of a ViT: `tests/dialects/keys`.

Run in an environment of its own, from the root of the repository:

    python -m venv peers
    peers/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 \
        transformers==5.23.0 vit-pytorch==1.26.11 open_clip_torch==3.3.0 \
        safetensors pydantic einops
    peers/bin/python tools/make_state_dict_keys.py

and, for what transformers 4 wrote, in a second one with `transformers==4.57.3`:

    peers4/bin/python tools/make_state_dict_keys.py --family huggingface4

Each model is tiny. Its weights come from `tests.fill` by canonical name, through the
maps written by hand in `tools/make_goldens.py` and `tools/state_dict_maps.py`; no
table of `converters` is used. Written are, for every generation of names that the
library itself makes (in memory, as saved, as an older release saved it), the name, the
shape and the hash of the values of every tensor. A table that gives the same names but
transposes a square matrix, or takes q for k, gives other hashes.

A tensor that no output depends on has no hash: it is on the drop list of a table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from state_dict_models import FAMILIES, Model  # noqa: E402

DIGITS = 16
"""Of a SHA-256: 64 bits are enough to tell tensors apart."""


def describe(arrays: dict[str, np.ndarray], unread: set[str]) -> dict[str, Any]:
    """Shape and hash by name, sorted; null for a tensor that no output depends on."""
    found = {}
    for name, values in sorted(arrays.items()):
        data = np.ascontiguousarray(values).tobytes()
        digest = hashlib.sha256(data).hexdigest()[:DIGITS]
        if values.dtype.kind == "f" and np.isnan(values).any():
            digest = ""
        found[name] = [list(values.shape), None if name in unread else digest or None]
    return found


def entry(model: Model) -> dict[str, Any]:
    """Everything about one model."""
    generations, config, unread = model.make()
    return {
        "class": model.builder,
        "arguments": model.arguments,
        "config": config,
        "generations": {
            name: describe(arrays, unread) for name, arrays in generations.items()
        },
    }


def dump(content: dict[str, Any]) -> str:
    """JSON, one tensor a line."""
    text = json.dumps(content, indent=1, sort_keys=True)
    lines: list[str] = []
    depth = 0
    for line in text.splitlines():
        stripped = line.strip()
        if depth:
            lines[-1] += stripped if stripped[0] in "])}" else f" {stripped}"
        else:
            lines.append(line)
        depth += stripped.count("[") - stripped.count("]")
    return "\n".join(lines).replace("[ ", "[") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=ROOT / "tests" / "dialects" / "keys"
    )
    parser.add_argument("--family", action="append", choices=sorted(FAMILIES))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    # transformers 4 and 5 are two environments: the older only when asked for.
    chosen = options.family or [name for name in FAMILIES if name != "huggingface4"]
    for name in chosen:
        library, models = FAMILIES[name]
        content = {
            "versions": {key: version(key) for key in (*library, "torch")},
            "models": {model.name: entry(model) for model in models},
        }
        path = options.out / f"{name}.json"
        path.write_text(dump(content), encoding="utf-8")
        print(f"{path.name:24} {len(models):3} models {path.stat().st_size:9,} bytes")


if __name__ == "__main__":
    main()
