"""Quantises a model by Keras' own means, and measures what that saves and costs."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.arguments import check_count, check_flag, check_path
from converters.artifacts.meaning import check_stated
from converters.cards.place import beside, check_card, write_card
from converters.cards.text import card_of_quantization
from converters.checks.source import checked, with_steps
from converters.conversion.convert import ConfigLike, PathLike, origin_of
from converters.conversion.outputs import SEED
from converters.conversion.raw_input import check_asked, raw_input
from converters.errors import named, refusal
from converters.files import space_needed, write
from converters.files.atomic import atomic, check_output, check_space
from converters.inputs.files import Entry, InputReader, are_raw, find_entries
from converters.inputs.picture import quiet
from converters.mapping.pipe import Cast, fingerprint
from converters.quantization.report import (
    NOISE,
    Quantization,
    QuantizationReport,
    moved,
)
from converters.quantization.worker import MODE
from converters.reports.phases import Phases
from converters.sources.door import open_source
from converters.sources.folders import parts_of
from converters.sources.request import Asked
from converters.workers.archive import Arrays
from converters.workers.process import ProcessError, chosen_backend, started, write_job
from converters.workers.size import inputs_for
from vit_config import ViTConfig

if TYPE_CHECKING:
    from torch.nn import Module

WORKER = "converters.quantization.worker"
STEP = f"quantize:{MODE}"
LIMIT_S = 3600


@named("quantization", unwritten=True)
def quantize(
    source: PathLike | Module,
    target: PathLike,
    *,
    config: ConfigLike | None = None,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    from_dialect: str | None = None,
    prefix: str | None = None,
    drop: str | Sequence[str] = (),
    head: str | None = None,
    base: str | os.PathLike[str] | None = None,
    inputs: PathLike | Iterable[PathLike] = (),
    backend: str | None = None,
    batch_size: int = 8,
    with_preprocessing: bool | None = None,
    white: float | None = None,
    card: bool = True,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> QuantizationReport:
    """Writes a Keras model whose linear layers have kernels of 8-bit integers.

    By `keras.Model.quantize("int8")`: kernels are rounded, each output channel by a
    scale of its own, and inputs of these layers at run time. Patch convolution, norms,
    tokens and position table stay in float32. The result is not the same model: the
    report says how far its outputs moved. The written file is loaded in a fresh process
    and has to give the same bits as the model that was saved, or it is not kept.

    Args:
        source: Anything that `convert` reads; computed in float32.
        target: The `.keras` to write.
        config: The model's config, where the source does not hold one.
        preset: Name of a preset, instead of a config.
        changes: Fields of our config, which stand above config and preset.
        from_dialect: Whose names the source has; recognised if None.
        prefix: What stands before the model's names in the source; found if None.
        drop: As in `convert`.
        head: As in `convert`.
        base: As in `convert`.
        inputs: Files, folders and patterns on which outputs are compared, as `predict`
            takes them; without any it is seeded noise.
        backend: Keras' backend that runs the models; None: the installed one.
        batch_size: Inputs of one call.
        with_preprocessing: As in `convert`: None: if the source is such a model.
        white: As in `convert`.
        card: Write a model card beside the target, too: `<target>.README.md`.
        force: Replace a target that exists.
        progress: Called with a few words as the work goes on.

    Raises:
        ConversionError: If the source cannot be read or is quantised already, the
            target not be written, an input not be read, or the file does not come back
            as it was; nothing is written then.
        ConfigError: If the config describes no model.
        MissingExtraError: If Keras, or what reads an input, is not installed.
    """
    start = time.perf_counter()
    check_path("target", target)
    check_flag("force", force)
    check_flag("card", card)
    check_count("batch_size", batch_size)
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    tell = Phases(progress)
    origin, target = origin_of(source), Path(target)
    _check_target(target, parts_of(origin), force)
    check_asked("keras", target, with_preprocessing, white)
    if card:
        check_card(beside(target))
    given = list(inputs)
    entries = find_entries(given) if given else ()
    try:
        backend = chosen_backend(backend)
    except ProcessError as error:
        raise refusal(str(error), kind="config") from None
    asked = Asked.by(from_dialect, prefix, config, preset, changes, drop, head, base)
    tell("reading the model")
    with (
        open_source(source, asked) as reader,
        tempfile.TemporaryDirectory(prefix="vit-duet-") as name,
    ):
        found, folder = checked(reader), Path(name)
        raw = raw_input(
            reader, "keras", target, with_preprocessing, white, found.config
        )
        if are_raw(entries, found.config.spatial_dims):
            check_stated(found.config)
        after = with_steps(found.config, (STEP,))
        needed = space_needed(4 * found.parameters)
        check_space(folder, 2 * needed)
        check_space(target.parent, needed)
        single = folder / "float.keras"
        write(single, "keras", Cast(found.source, "float32"), after, raw)
        count = _written_inputs(folder / "inputs", found.config, entries)
        what = f"of {len(entries)} files" if entries else NOISE
        with atomic(target, force=force) as made:
            keras_file = folder / "int8.keras"  # Keras saves under no other suffix
            case: dict[str, Any] = {
                "float": str(single),
                "quantized": str(keras_file),
                "inputs": "inputs",
                "count": count,
                "batch": min(batch_size, count),
            }
            try:
                said, figures = _made(case, folder, backend, after, what, tell)
            except ProcessError as error:
                raise refusal(str(error), file=target) from None
            shutil.copyfile(keras_file, made)
            sizes = single.stat().st_size, made.stat().st_size
        report = QuantizationReport(
            source=origin,
            target=target,
            source_format=reader.format,
            source_dialect=reader.dialect,
            config=after,
            raw=raw,
            fingerprint=fingerprint(found.digests),
            file_bytes=sizes,
            parameters=found.parameters,
            figures=figures,
            batch=case["batch"],
            seconds=time.perf_counter() - start,
            phases=tell.end(),
            **said,
        )
        if card:
            write_card(beside(target), card_of_quantization(report))
        return report


def _check_target(target: Path, sources: tuple[Path, ...], force: bool) -> None:
    if target.suffix.lower() != ".keras":
        raise refusal(
            f'"{target.suffix}" is no suffix of a quantised model: Keras writes .keras',
            file=target,
            kind="config",
        )
    check_output(target, sources, force)


def _written_inputs(path: Path, config: ViTConfig, entries: tuple[Entry, ...]) -> int:
    """Writes inputs one after the other; how many there are.

    Raises:
        ConversionError: With the first file that cannot be read.
    """
    count = 0
    with path.open("wb") as file:
        if not entries:
            count = inputs_for(config)
            shape = (config.in_chans, *config.img_size)
            rng = np.random.default_rng(SEED)
            for _ in range(count):
                file.write(rng.standard_normal(shape, np.float32).tobytes())
            return count
        reader = InputReader(config)
        with quiet():
            for entry in entries:
                for one in reader(entry.path, entry.name).inputs:
                    file.write(np.asarray(one.values, np.float32).tobytes())
                    count += 1
    return count


def _made(
    case: dict[str, Any],
    folder: Path,
    backend: str,
    config: ViTConfig,
    what: str,
    tell: Callable[[str], None],
) -> tuple[dict[str, Any], Quantization]:
    """Makes the file in one process and loads it in another.

    Raises:
        ConversionError: If the file gives other bits than the model that was saved, or
            no numbers.
        ProcessError: If a process fails.
    """
    tell("quantising")
    first = _asked(folder, "make", {**case, "make": True}, backend)
    tell("loading what was written")
    second = _asked(folder, "reload", case, backend)
    with (
        Arrays(folder / "make.npz") as made,
        Arrays(folder / "reload.npz") as again,
    ):
        before, after = made["before"], made["after"]
        if again["after"].tobytes() != after.tobytes():
            raise refusal("other outputs after saving and loading in a new process")
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise refusal("the outputs are not all finite; nothing can be compared")
    if not first["layers"]:
        raise refusal("the model has no layer that Keras quantises", kind="config")
    seconds_float, seconds_quantized = second["seconds"]
    said = {
        "layers": tuple(first["layers"]),
        "weight_bytes": tuple(first["weight_bytes"]),
        "versions": second["versions"],
        "seconds_float": seconds_float,
        "seconds_quantized": seconds_quantized,
    }
    return said, moved(config, before, after, what)


def _asked(
    folder: Path, name: str, case: dict[str, Any], backend: str
) -> dict[str, Any]:
    """What a fresh process says of its one case."""
    job = write_job(folder / f"{name}.json", [{**case, "answers": f"{name}.npz"}])
    label = f"Keras ({backend})"
    with started(WORKER, job, label, backend) as worker:
        (said,) = worker.wait(LIMIT_S)["cases"]
    if "error" in said:
        raise ProcessError(f"{label} {said['error']}")
    found: dict[str, Any] = said
    return found
