"""The fresh process that writes an artifact.

Run as `python -m converters.artifacts.writer JOB`, in the environment that
`converters.workers.process` makes. JOB is a JSON file, `{"cases": [...]}`; a case has
"format", "model" (a canonical file in float32), "config", "tokens", "fingerprint",
"dtype" and "target".
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from converters.artifacts.contents import Contents
from converters.workers.device import versions
from converters.workers.program import answered, run
from vit_config import ViTConfig

_MODULES = {
    "saved_model": "saved_model",
    "onnx": "onnx_file",
    "litert": "litert_file",
    "torch": "torch_file",
    "openvino": "openvino_file",
}
_PACKAGES = {
    "saved_model": ("keras", "tensorflow"),
    "onnx": ("torch", "onnx", "onnxscript"),
    "litert": ("keras", "tensorflow"),
    "torch": ("torch",),
    "openvino": ("torch", "onnx", "onnxscript", "openvino"),
}


def main(job: Path) -> None:
    """Does what the job says and prints one line of JSON about it."""
    asked = json.loads(job.read_text(encoding="utf-8"))["cases"]
    print(json.dumps({"cases": [answered(_write, case, job) for case in asked]}))


def _write(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    contents = Contents(
        config=ViTConfig.from_dict(case["config"]),
        format=case["format"],
        tokens=case["tokens"],
        fingerprint=case["fingerprint"],
        dtype=case["dtype"],
    )
    module = import_module(f"{__package__}.{_MODULES[contents.format]}")
    module.write(Path(case["target"]), Path(case["model"]), contents)
    return {"versions": versions(*_PACKAGES[contents.format])}


if __name__ == "__main__":
    sys.exit(run(main, Path(sys.argv[1])))
