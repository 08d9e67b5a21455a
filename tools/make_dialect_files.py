r"""Makes `tests/dialects/files`: what libraries save, and what they compute from it.

Run in the environment of `make_goldens`, from the root of the repository:

    peers/bin/python tools/make_dialect_files.py SOURCES

`SOURCES` is a folder with other packages, each made by
`pip install --no-deps --target SOURCES/monai-0.8.1 monai==0.8.1`: monai 0.6.0, 0.8.1,
0.9.1, 1.3.2 and 1.5.2; vit-pytorch 0.40.2, 1.2.0 and 1.15.0 (in `vitp-0.40.2`);
open_clip_torch 3.3.0 with ftfy and wcwidth (in `oclip`). Clones of repositories that
no package index has stand beside, at the commits of `dialect_originals.COMMITS`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools import dialect_originals, dialect_packages  # noqa: E402
from tools.dialect_files import make  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "tests" / "dialects" / "files"
    )
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    options.out.mkdir(parents=True, exist_ok=True)
    cases = [
        *dialect_packages.cases(options.sources),
        *dialect_originals.cases(options.sources),
    ]
    for case in cases:
        if options.only not in case.name:
            continue
        arrays, description = make(case)
        text = json.dumps(description, sort_keys=True, separators=(",", ":"))
        path = options.out / f"{case.name}.safetensors"
        save_file(arrays, path, {"case": text})
        print(f"{case.name:40} {path.stat().st_size:8,} bytes")


if __name__ == "__main__":
    main()
