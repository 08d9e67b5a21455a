"""OpenVINO's IR: the ONNX file of the torch twin, read by OpenVINO itself."""

from __future__ import annotations

import tempfile
from pathlib import Path

from converters.artifacts import onnx_file
from converters.artifacts.contents import Contents
from converters.artifacts.place import VERSION
from converters.runtimes.base import CONFIG, FACTS, LABELS
from converters.runtimes.openvino_model import MARKER, load_openvino


def write(target: Path, model: Path, contents: Contents) -> None:
    """Writes `target/1/model.xml` and `.bin`, and what it is in `assets` beside them.

    Weights stay in float32: what saves a model would store them in 16 bits by default.

    Args:
        target: The folder, to be made.
        model: A canonical file.
        contents: What it is to hold.
    """
    openvino = load_openvino()
    folder = target / VERSION
    assets = folder / "assets"
    assets.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="vit-duet-") as name:
        onnx = Path(name) / "model.onnx"
        onnx_file.write(onnx, model, contents)
        made = openvino.Core().read_model(onnx)
        openvino.save_model(made, folder / MARKER, compress_to_fp16=False)
    inside = {FACTS: contents.facts_json(), CONFIG: contents.config.to_json()}
    if contents.config.labels is not None:
        inside[LABELS] = contents.label_lines()
    for file, text in inside.items():
        (assets / file).write_text(text, encoding="utf-8")
