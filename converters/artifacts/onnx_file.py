"""`.onnx`: the torch twin, translated by `torch.onnx`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from converters.artifacts.contents import BATCH, SERVING_DEFAULT, Contents
from converters.artifacts.torch_served import EXAMPLES, served
from converters.runtimes.base import CONFIG, FACTS, LABELS

if TYPE_CHECKING:
    import onnx

OPSET = 20
"""The first with an exact Gelu; onnxruntime 1.17 and later know it."""


def write(target: Path, model: Path, contents: Contents) -> None:
    """Writes a checked model of any batch size, with what it is in `metadata_props`.

    Args:
        target: The file.
        model: A canonical file.
        contents: What it is to hold.
    """
    import onnx
    import torch

    module = served(model, contents)
    x = torch.zeros(EXAMPLES, *contents.input_shape)
    with torch.no_grad():
        made = torch.onnx.export(
            module,
            (x,),
            input_names=[contents.input_name],
            output_names=[one.name for one in contents.outputs()],
            dynamic_shapes=({0: torch.export.Dim(BATCH, min=1)},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if made is None:
        raise RuntimeError("torch.onnx made no model")
    proto = made.model_proto
    _forget_traces(proto)
    inside = {
        FACTS: contents.facts_json(),
        CONFIG: contents.config.to_json(),
        "fingerprint": contents.fingerprint,
        "preprocessing": contents.signatures()[0].says,
        "signature": SERVING_DEFAULT,
    }
    if contents.config.labels is not None:
        inside[LABELS] = contents.label_lines()
        inside["labels"] = json.dumps(contents.config.labels)
    onnx.helper.set_model_props(proto, inside)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, target)


def _forget_traces(proto: onnx.ModelProto) -> None:
    """Takes out what the exporter notes of Python: paths and lines of our files."""
    graph = proto.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (graph, *graph.node, *values):
        del part.metadata_props[:]
        part.doc_string = ""
    proto.doc_string = ""
