"""A model card: YAML in front, then words; read by `huggingface_hub.ModelCard`.

Values in front are JSON, which YAML takes as it is. What comes from a model's config is
escaped: a label cannot become a link or a heading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from converters.cards.place import MARK
from converters.checks.architecture import (
    NOT_IN_FILE,
    architecture_items,
    by_hand,
    statements_of,
)
from converters.checks.audit import audit
from converters.libraries.timm.config_names import hub_id
from converters.mapping.pipe import model_fingerprint
from converters.parity.page.markup import code, escaped, literal, table
from converters.runtimes.known import NAMES, SUFFIXES
from converters.serving import calls

if TYPE_CHECKING:
    from converters.artifacts.report import ExportReport
    from converters.conversion.report import ConversionReport
    from converters.quantization.report import QuantizationReport
    from vit_config import ViTConfig

LIBRARIES = {
    "saved_model": "tensorflow",
    "onnx": "onnx",
    "litert": "litert",
    "torch": "pytorch",
    "openvino": "openvino",
}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
LICENCE = re.compile(r"[a-z0-9.-]+")
SHOWN = 20
"""Labels that are listed."""


def card_of_export(report: ExportReport) -> str:
    """The card of an exported artifact.

    Args:
        report: What was exported.
    """
    name = report.target.name
    figures = [
        (
            code(one.signature),
            code(one.output),
            str(one.inputs),
            f"{one.ratio:.2f}",
            f"{one.limit:g}",
            f"{one.max_difference:.2g}",
        )
        for one in report.parity
    ]
    head = ("signature", "output", "inputs", "error / noise", "limit", "max difference")
    verdict = "Passed." if report.ok else "Not passed."
    proof = (
        f"{verdict} Before it had its name the artifact was run by its own runtime, "
        "in a process without vit-duet's models and without Keras, in batches of "
        f"{', '.join(map(str, report.batches))}, and held against the PyTorch model "
        "of the same weights in float64. The figure is its error over that of PyTorch "
        f"in float32.\n\n{table(head, figures)}"
    )
    parts = [
        _front(report.config, LIBRARIES[report.format], report.format),
        f"# {escaped(name)}",
        f"A Vision Transformer as {NAMES[report.format]}, of "
        f"{report.parameters:,} parameters, converted by vit-duet.",
        _section("Use", f"```python\n{usage(report)}```"),
        _section("Inputs and outputs", _signatures(report)),
        _architecture(report.config),
        _section("Preprocessing and origin", _audit(report.config)),
        _labels(report.config),
        _section("Verdict", proof + _untested(report.config)),
        _section("Serve", _serving(report)),
        _section("Versions", _versions(report, report.versions)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def card_of_conversion(report: ConversionReport) -> str:
    """The card of a Keras model that takes inputs as they are.

    Args:
        report: What was converted.
    """
    from converters.checks.audit import takes

    name = report.target.name
    proof = (
        f"All {report.proved} tensors were read back from the written file, bit by bit."
        if report.proved
        else "NOT CHECKED: no proof was asked for."
    )
    if report.outputs is not None:
        proof += f"\n\nOutputs against PyTorch's: {escaped(report.outputs)}."
    inputs = f"It takes {escaped(takes(report.config, report.raw))}."
    parts = [
        _front(report.config, "keras", "keras"),
        f"# {escaped(name)}",
        f"A Vision Transformer for Keras, of {report.parameters:,} parameters, with "
        "its preprocessing inside, converted by vit-duet.",
        _section(
            "Use",
            f"```python\n{calls.keras(name, report.config, report.raw is not None)}```",
        ),
        _section("Inputs", inputs),
        _architecture(report.config),
        _section("Preprocessing and origin", _audit(report.config)),
        _labels(report.config),
        _section("Verdict", proof + _untested(report.config)),
        _section("Versions", _versions(report)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def card_of_quantization(report: QuantizationReport) -> str:
    """The card of a quantised Keras model.

    Args:
        report: What was quantised.
    """
    from converters.checks.audit import takes
    from converters.quantization.report import WARNING

    name = report.target.name
    rows = [(label, escaped(text, 1000)) for label, text in report.rows()]
    parts = [
        _front(report.config, "keras", "keras", "int8"),
        f"# {escaped(name)}",
        f"**{WARNING[0].upper()}{WARNING[1:]}.** A Vision Transformer for Keras, of "
        f"{report.parameters:,} parameters, quantised by Keras and vit-duet. Its "
        "rounded weights cannot be turned back: keep the model it was made from.",
        _section(
            "Use",
            f"```python\n{calls.keras(name, report.config, report.raw is not None)}```",
        ),
        _section("Inputs", f"It takes {escaped(takes(report.config, report.raw))}."),
        _section("Against float32", table(("", "as measured"), rows)),
        _architecture(report.config),
        _section("Preprocessing and origin", _audit(report.config)),
        _labels(report.config),
        _section("Versions", _versions(report, report.versions)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def usage(report: ExportReport) -> str:
    """Lines of Python that run the artifact where it lies, on zeros."""
    takes = report.signatures[0].inputs[0]
    shape = (1, *takes.shape[1:])
    name = report.target.name
    match report.format:
        case "saved_model":
            path = json.dumps(f"{name}/1")
            return (
                "import tensorflow as tf\n"
                f'model = tf.saved_model.load({path}).signatures["serving_default"]\n'
                f"outputs = model({takes.name}=tf.zeros({shape}))\n"
            )
        case "onnx":
            return (
                "import numpy as np, onnxruntime\n"
                f"session = onnxruntime.InferenceSession({json.dumps(name)})\n"
                "outputs = session.run(None, "
                f'{{"{takes.name}": np.zeros({shape}, "float32")}})\n'
            )
        case "litert":
            return (
                "import numpy as np\n"
                "from ai_edge_litert.interpreter import Interpreter\n"
                f"run = Interpreter({json.dumps(name)}).get_signature_runner()\n"
                f'outputs = run({takes.name}=np.zeros({shape}, "float32"))\n'
            )
        case "openvino":
            path = json.dumps(f"{name}/1/model.xml")
            return (
                "import numpy as np, openvino\n"
                'exact = {"INFERENCE_PRECISION_HINT": "f32"}\n'
                f'model = openvino.Core().compile_model({path}, "CPU", exact)\n'
                f'outputs = model({{"{takes.name}": np.zeros({shape}, "float32")}})\n'
            )
        case _:
            return (
                "import torch\n"
                f"model = torch.export.load({json.dumps(name)}).module()\n"
                f"outputs = model(torch.zeros({shape}))\n"
            )


def serving_commands(report: ExportReport) -> list[str]:
    """Commands that serve an artifact; it lies where they are given."""
    found = []
    if report.format == "saved_model":
        found.append(calls.docker(str(report.target), _name(report)))
    return [*found, calls.command(str(report.target))]


def client_call(report: ExportReport) -> str:
    """A call of it from a shell."""
    url = calls.URL.format(name=_name(report))
    return calls.curl(url, _inputs(report), str(report.target), report.config)


def _serving(report: ExportReport) -> str:
    target = report.target.name
    lines = [calls.command(target)]
    if report.format == "saved_model":
        lines.insert(0, calls.docker(target, _name(report)))
    url = calls.URL.format(name=_name(report))
    given = (url, _inputs(report), target, report.config)
    text = (
        "One of\n\n```bash\n" + "\n# or\n".join(lines) + "\n```\n\nthen\n\n```bash\n"
        f"{calls.curl(*given)}\n```\n\nor\n\n```python\n{calls.python(*given)}```"
    )
    if report.format == "saved_model" and calls.takes_scans(report.config):
        text += (
            "\n\nor without vit-duet, for a NIfTI file of the model's spacing\n\n"
            f"```python\n{calls.nibabel(url, report.config)}```"
        )
    return text


def _name(report: ExportReport) -> str:
    name = report.target.name
    if report.format in SUFFIXES.values():
        name = name.removesuffix(report.target.suffix)
    return re.sub(r"[^\w.-]", "-", name, flags=re.ASCII)


def _inputs(report: ExportReport) -> calls.Signatures:
    return {
        one.name: {x.name: x.shape for x in one.inputs} for one in report.signatures
    }


def _front(config: ViTConfig, library: str, *kinds: str) -> str:
    source = config.source
    found: dict[str, object] = {"library_name": library}
    licence = (source.licence if source else None) or ""
    if LICENCE.fullmatch(licence.lower()):
        found["license"] = licence.lower()
    elif licence:
        found |= {"license": "other", "license_name": licence}
    if config.spatial_dims == 2 and not config.num_classes:
        found["pipeline_tag"] = "image-feature-extraction"
    elif config.spatial_dims == 2 and config.problem_type in _CLASSES:
        found["pipeline_tag"] = "image-classification"
    name = ((source.name if source else None) or "").removeprefix("hf://")
    base = name if HUB_ID.fullmatch(name) else hub_id(name)
    if base:
        found["base_model"] = base
    dims = "3d" if config.spatial_dims == 3 else "2d"
    found["tags"] = ["vision-transformer", "vit-duet", dims, *kinds]
    lines = [f"{key}: {json.dumps(value)}" for key, value in found.items()]
    return "\n".join(["---", *lines, "---", "", MARK])


_CLASSES = ("single_label", "multi_label")


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _signatures(report: ExportReport) -> str:
    parts = []
    for one in report.signatures:
        rows = [
            (side, code(x.name), x.dtype, _axes(x.shape), escaped(x.what))
            for side, tensors in (("in", one.inputs), ("out", one.outputs))
            for x in tensors
        ]
        head = ("", "name", "type", "shape", "what")
        parts.append(
            f"{code(one.name)}, preprocessing {escaped(one.says, 1000)}\n\n"
            f"{table(head, rows)}"
        )
    notes = "\n".join(f"- {escaped(note)}" for note in report.notes)
    return "\n\n".join([*parts, *filter(None, [notes])])


def _axes(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _audit(config: ViTConfig) -> str:
    rows = [row for row in audit(config) if row[0] != "labels"]
    return "\n".join(f"- {title}: {escaped(text, 1000)}" for title, text in rows)


def _labels(config: ViTConfig) -> str:
    if config.labels is None:
        return _section("Labels", "Not stated.") if config.num_classes else ""
    shown = [f"{i}. {escaped(one)}" for i, one in enumerate(config.labels[:SHOWN])]
    more = len(config.labels) - SHOWN
    if more > 0:
        shown.append(f"\n... and {more} more, in the config inside the model.")
    return _section("Labels", "\n".join(shown))


def _architecture(config: ViTConfig) -> str:
    rows = [(name, escaped(text)) for name, text in architecture_items(config).items()]
    parts = [table(("", ""), rows)]
    statements = by_hand(statements_of(config))
    if statements:
        parts.append(
            f"**{NOT_IN_FILE[0].upper()}{NOT_IN_FILE[1:-2]}:** "
            f"{literal(statements, 4000)}. "
            "No comparison of this card tests whether that is right."
        )
    return _section("Architecture", "\n\n".join(parts))


def _untested(config: ViTConfig) -> str:
    """What a verdict says nothing of: both sides were told the same."""
    names = ", ".join(one.field for one in statements_of(config))
    if not names:
        return ""
    return f"\n\nNot tested: what was stated by hand, {literal(names, 1000)}."


def _versions(
    report: ExportReport | ConversionReport | QuantizationReport,
    versions: Mapping[str, str] | None = None,
) -> str:
    from converters.version import producer

    rows: Iterable[tuple[str, str]] = (versions or {}).items()
    lines = [f"- {escaped(name)} {escaped(version)}" for name, version in rows]
    own = f"- {escaped(producer())}"
    model = model_fingerprint(report.fingerprint, report.config)
    stated = [
        f"- fingerprint of the weights: {code(report.fingerprint)}",
        f"- fingerprint of the model, weights and architecture: {code(model)}",
    ]
    return "\n".join([own, *lines, *stated])
