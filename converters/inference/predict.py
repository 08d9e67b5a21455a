"""Asks a model about a user's files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.arguments import check_count
from converters.artifacts.meaning import check_stated, probabilities, probability
from converters.errors import ConversionError, fold, named
from converters.inference.predictions import Failure, Prediction, Predictions
from converters.inference.running import Running, Source, load
from converters.inputs.ahead import read_ahead, workers
from converters.inputs.files import Entry, Input, InputReader, are_raw, find_entries
from converters.inputs.picture import quiet
from converters.sources.request import Asked, ConfigLike

if TYPE_CHECKING:
    from torch.nn import Module

Progress = Callable[[int, int], None]
"""Called with the files done and the files to do in all."""


@named("prediction")
def predict(
    model: Source | Module,
    inputs: Source | Iterable[Source],
    *,
    config: ConfigLike | None = None,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    from_dialect: str | None = None,
    prefix: str | None = None,
    drop: str | Sequence[str] = (),
    head: str | None = None,
    base: Source | None = None,
    backend: str | None = None,
    device: str = "cpu",
    top_k: int = 5,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> Predictions:
    """Asks a model about pictures, volumes and arrays.

    Pictures and volumes get the preprocessing that the config's `data` states; where it
    does not, they are refused, and nothing is guessed. Arrays (`.npy`, `.npz`) are
    taken as already preprocessed, (C, *spatial) or (B, C, *spatial).

    Args:
        model: Whatever `convert` reads.
        inputs: Files, folders (searched through and through) and patterns.
        config: The model's config, where the source does not hold one.
        preset: Name of a preset, instead of a config.
        changes: Fields that stand above config and preset; `"data.mean"` names a part
            of `data`.
        from_dialect: Whose names the source has; recognised if None.
        prefix: What stands before the model's names; found if None.
        drop: As in `convert`.
        head: As in `convert`.
        base: As in `convert`.
        backend: Run the Keras twin on that backend. None: the torch twin, but Keras for
            a `.keras`.
        device: Of the torch twin: `"cpu"` or `"cuda"`.
        top_k: How many classes to show of each input.
        batch_size: Inputs of one call of the model.
        progress: Called as the work goes on.

    Returns:
        Outputs of all inputs, probabilities where the config's `problem_type` says how,
        and the files that could not be read.

    Raises:
        ConversionError: If the model cannot be read, if it does not state its
            preprocessing, or if something named is no input.
        ConfigError: If the config describes no model.
        MissingExtraError: If the framework, Pillow or nibabel is not installed.
    """
    for name, value in (("top_k", top_k), ("batch_size", batch_size)):
        check_count(name, value)
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    entries = find_entries(inputs)
    running = load(
        model,
        Asked.by(from_dialect, prefix, config, preset, changes, drop, head, base),
        backend=backend,
        device=device,
    )
    if are_raw(entries, running.config.spatial_dims):
        check_stated(running.config)
    how, why = probability(running.config)
    failures: list[Failure] = []
    made: list[Prediction] = []
    tick = progress or (lambda done, total: None)
    with quiet():
        found = _inputs(entries, running.config, batch_size, failures, tick)
        for batch in _batched(found, batch_size):
            made += _asked(running, batch, how)
    return Predictions(
        model=running.name,
        config=running.config,
        fingerprint=running.fingerprint,
        library=running.library,
        how=how,
        why=why,
        items=tuple(made),
        failures=tuple(failures),
        top_k=top_k,
    )


Named = tuple[str, int | None, Input]


def _inputs(
    entries: tuple[Entry, ...],
    config: Any,
    batch_size: int,
    failures: list[Failure],
    tick: Progress,
) -> Iterator[Named]:
    """The inputs of all files that can be read; the others become failures."""
    reader = InputReader(config)
    results = read_ahead(
        entries, lambda e: reader(e.path, e.name), batch_size + workers()
    )
    for done, (entry, found) in enumerate(results, 1):
        if isinstance(found, ConversionError):
            failures.append(Failure(entry.name, reason(found)))
        else:
            several = len(found.inputs) > 1
            for index, one in enumerate(found.inputs):
                yield entry.name, index if several else None, one
        tick(done, len(entries))


def reason(error: ConversionError) -> str:
    """Why a file was refused, in one line."""
    return "; ".join(" ".join(line.split()[1:]) for line in fold(error.issues))


def _batched(found: Iterator[Named], size: int) -> Iterator[list[Named]]:
    waiting: list[Named] = []
    for one in found:
        waiting.append(one)
        if len(waiting) == size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _asked(running: Running, batch: list[Named], how: str) -> Iterator[Prediction]:
    outputs = running.outputs(np.stack([one.values for _, _, one in batch]))
    for (name, index, one), values in zip(batch, outputs, strict=True):
        yield Prediction(
            file=name,
            item=index,
            outputs=values,
            probabilities=probabilities(values, how) if how else None,
            notes=one.notes,
        )
