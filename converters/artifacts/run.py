"""Exports a model to a format that runs without us, and runs what was written."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from converters.arguments import check_flag, check_path, wrong
from converters.artifacts.contents import Contents, Format
from converters.artifacts.parity import cases, judged
from converters.artifacts.place import CARD, SUFFIXES, check_place, files_of, placed
from converters.artifacts.report import ExportReport
from converters.cards.place import beside as card_beside, check_card, write_card
from converters.cards.text import card_of_export
from converters.checks.source import Checked, checked
from converters.conversion.convert import ConfigLike, PathLike, origin_of
from converters.conversion.instead import format_meant
from converters.errors import named, refusal
from converters.files import write
from converters.files.atomic import check_space
from converters.mapping.pipe import Cast, fingerprint
from converters.reports.phases import Phases
from converters.sources.door import open_source
from converters.sources.folders import parts_of
from converters.sources.request import Asked
from converters.wording import options
from converters.workers.archive import Arrays
from converters.workers.process import ProcessError, Worker, require, started, write_job

if TYPE_CHECKING:
    from torch.nn import Module

WRITER = "converters.artifacts.writer"
CHECKER = "converters.runtimes.checker"
REFERENCE = "converters.workers.reference"

LIMIT_S = 3600
MOST_BYTES = 2**31 - 2**24
"""Weights in one file of protobuf or flatbuffers, which end at 2 GiB."""

NEEDED = {
    "saved_model": {"tensorflow": "keras", "keras": "keras"},
    "onnx": {"onnx": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx"},
    "litert": {"tensorflow": "keras", "keras": "keras", "ai_edge_litert": "litert"},
    "torch": {},
    "openvino": {"onnx": "openvino", "onnxscript": "openvino", "openvino": "openvino"},
}
"""Modules that a format needs besides torch, each with the extra that brings it."""

_BACKENDS = {"saved_model": "tensorflow", "litert": "tensorflow"}


@named("export", unwritten=True)
def export(
    source: PathLike | Module,
    target: PathLike,
    *,
    format: Format | None = None,
    config: ConfigLike | None = None,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    from_dialect: str | None = None,
    prefix: str | None = None,
    drop: str | Sequence[str] = (),
    head: str | None = None,
    base: PathLike | None = None,
    tokens: bool = False,
    force: bool = False,
    card: bool = True,
    progress: Callable[[str], None] | None = None,
) -> ExportReport:
    """Writes a model as SavedModel, ONNX, LiteRT, OpenVINO or for `torch.export`.

    The artifact computes in float32, takes batches of any size, and carries config,
    labels and fingerprint inside. Before it gets its name it is run by its own runtime,
    in a process that can import neither our models nor Keras, and its outputs are held
    against the torch twin's (`converters.artifacts.parity`).

    Args:
        source: Anything that `convert` reads.
        target: For `"saved_model"` and `"openvino"` a folder, which will hold the
            version `1`; else a file that ends with `.onnx`, `.tflite` (LiteRT) or
            `.pt2` (torch).
        format: `"saved_model"`, `"onnx"`, `"litert"`, `"torch"` or `"openvino"`; None:
            as the suffix of the file says.
        config: The model's config, where the source does not hold one.
        preset: Name of a preset, instead of a config.
        changes: Fields of our config, which stand above config and preset.
        from_dialect: Whose names the source has; recognised if None.
        prefix: What stands before the model's names in the source; found if None.
        drop: As in `convert`.
        head: As in `convert`.
        base: As in `convert`.
        tokens: Give all tokens, too, besides the pooled vector and the head's output.
        force: Replace an artifact that exists.
        card: Write a model card, too: `README.md` in the folder, or beside a file
            `<file>.README.md`.
        progress: Called with a few words as the work goes on.

    Raises:
        ConversionError: If the source cannot be read, the target not be written, or an
            output differs by more than rounding; nothing is written then.
        ConfigError: If the config describes no model.
        MissingExtraError: If something that the format needs is not installed.
    """
    start = time.perf_counter()
    check_path("target", target)
    check_flag("tokens", tokens)
    check_flag("force", force)
    check_flag("card", card)
    phases = Phases(progress)
    origin, target = origin_of(source), Path(target)
    if format is None:
        reading: dict[str, Any] = {
            "from_dialect": from_dialect,
            "prefix": prefix,
            "config": config,
            "preset": preset,
            "changes": changes,
            "drop": drop,
            "head": head,
            "base": base,
        }
        format = cast("Format", format_meant(source, target, reading))
    elif format not in get_args(Format):
        raise wrong("format", format, f"one of {', '.join(get_args(Format))}, or None,")
    check_place(target, format, parts_of(origin), force)
    beside = format in SUFFIXES
    if card and beside:
        check_card(card_beside(target))
    require({"torch": "torch", **NEEDED[format]})
    asked = Asked.by(from_dialect, prefix, config, preset, changes, drop, head, base)
    phases("reading the model")
    with open_source(source, asked) as reader:
        found = checked(reader)
        contents = Contents(
            config=found.config,
            format=format,
            tokens=tokens,
            fingerprint=fingerprint(found.digests),
            dtype=found.dtype,
        )
        _check_size(found, format, target)
        with tempfile.TemporaryDirectory(prefix="vit-duet-") as name:
            model = Path(name) / "model.safetensors"
            write(model, "safetensors", Cast(found.source, "float32"), found.config)
            with placed(target, format, force=force) as made:
                try:
                    said = _made(contents, made, model, Path(name), phases)
                except ProcessError as error:
                    raise refusal(str(error), file=target) from None
                report = ExportReport(
                    source=origin,
                    target=target,
                    format=format,
                    source_format=reader.format,
                    source_dialect=reader.dialect,
                    config=found.config,
                    fingerprint=contents.fingerprint,
                    dtype=found.dtype,
                    tensors=len(found.digests),
                    parameters=found.parameters,
                    signatures=contents.signatures(),
                    probabilities=contents.probabilities,
                    notes=contents.notes(),
                    files={},
                    seconds=time.perf_counter() - start,
                    phases=phases.end(),
                    **said,
                )
                if card and not beside:
                    (made / CARD).write_text(card_of_export(report), encoding="utf-8")
                report = replace(report, files=files_of(made))
        if card and beside:
            write_card(card_beside(target), card_of_export(report))
        return report


def _check_size(found: Checked, kind: Format, target: Path) -> None:
    nbytes = 4 * found.parameters
    if kind in ("onnx", "litert", "openvino") and nbytes > MOST_BYTES:
        raise refusal(
            f"its weights take {nbytes / 1e9:.1f} GB, and one file of "
            f"{'this format' if kind != 'openvino' else 'ONNX, which it is made of,'} "
            "holds 2 GB at most",
            file=target,
            hint=f"{options(format='saved_model')} and torch have no such limit.",
        )
    check_space(target.parent, nbytes + nbytes // 8)


def _made(
    contents: Contents,
    made: Path,
    model: Path,
    folder: Path,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Writes the artifact, runs it, and judges what it gives."""
    ours, theirs = cases(contents, model, folder)
    job = {
        "format": contents.format,
        "model": str(model),
        "config": contents.config.to_dict(),
        "tokens": contents.tokens,
        "fingerprint": contents.fingerprint,
        "dtype": contents.dtype,
        "target": str(made),
        "alone": True,
    }
    backend = _BACKENDS.get(contents.format, "torch")
    label = f"writing {contents.format}"
    tell(label)
    asked = write_job(folder / "write.json", [job])
    reference = write_job(folder / "torch.json", [theirs])
    with started(REFERENCE, reference, "PyTorch", "torch") as torch:
        with started(WRITER, asked, label, backend) as writer:
            wrote = _answer(writer, label)
        tell("running what was written")
        check = write_job(folder / "check.json", [{**ours, "artifact": str(made)}])
        label = f"running {contents.format}"
        with started(CHECKER, check, label, backend) as checker:
            ran = _answer(checker, label)
        torch.wait(LIMIT_S)
    tell("comparing")
    with (
        Arrays(folder / ours["answers"]) as given,
        Arrays(folder / theirs["answers"]) as exact,
    ):
        figures = judged(contents, given, exact, ran)
    wrote["versions"].pop("python", None)
    return {
        "parity": figures,
        "batches": tuple(ours["batches"]),
        "versions": {**wrote["versions"], **ran["versions"]},
    }


def _answer(worker: Worker, label: str) -> dict[str, Any]:
    """What a process said about its one case.

    Raises:
        ProcessError: If it failed.
    """
    (said,) = worker.wait(LIMIT_S)["cases"]
    if "error" in said:
        raise ProcessError(f"{label} {said['error']}")
    found: dict[str, Any] = said
    return found
