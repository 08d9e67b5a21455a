"""Features of all files of a folder, in files that survive a kill."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from converters.arguments import check_count, check_flag, check_path
from converters.artifacts.meaning import check_stated
from converters.errors import ConversionError, Issue, named, refusal
from converters.inference.embedding.job import Job, begun_with, held
from converters.inference.embedding.listing import Listed, list_folder, stamp
from converters.inference.embedding.report import EmbedReport
from converters.inference.embedding.shards import (
    Shard,
    check_file_format,
    library_of,
    write_shard,
)
from converters.inference.embedding.threads import fixed_threads
from converters.inference.predict import Progress, reason
from converters.inference.predictions import Failure
from converters.inference.running import Running, Source, load
from converters.inputs.ahead import read_ahead, workers
from converters.inputs.files import Entry, InputReader, Read, are_raw
from converters.inputs.picture import quiet
from converters.sources.request import Asked, ConfigLike
from converters.version import VERSION
from converters.wording import option, options
from vit_config import ViTConfig

if TYPE_CHECKING:
    from torch.nn import Module

Array = NDArray[np.float32]

SHARD_BYTES = 64_000_000
"""What the rows of a shard take in memory, at most."""
SHARD_FILES = 512
"""Files of a shard, at most: what a kill loses is the work on one."""
FORMAT = 1


@named("embedding")
def embed(
    model: Source | Module,
    folder: Source,
    out: Source,
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
    tokens: bool = False,
    batch_size: int = 16,
    shard_size: int | None = None,
    format: str = "safetensors",
    strict: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> EmbedReport:
    """Writes the pooled embedding of every picture, volume or array in a folder.

    Files are taken in the order of their paths. A run that was stopped, killed even,
    is gone on with by the same call, in as many threads, and leaves the same bytes as
    one that was not, on the same machine. `converters.inference.embedding.job` says
    what is written; of rows there are never more in memory than one shard has.

    Args:
        model: Whatever `convert` reads.
        folder: The folder; searched through and through.
        out: The folder to write; its parent must exist.
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
        tokens: Also write all tokens after the last norm, (N, embed_dim) of each.
        batch_size: Inputs of one call of the model; the last of a shard is filled up.
        shard_size: Files of a shard; None: 512, or fewer, so that rows take at most
            64 MB.
        format: Kind of the files with the rows: `"safetensors"` or `"parquet"`.
        strict: Stop at a file that cannot be read.
        force: Begin anew, whatever is there of an earlier run.
        progress: Called as the work goes on.

    Raises:
        ConversionError: If the model cannot be read or does not state its
            preprocessing, if the folder is not what it was when the work was begun, or
            the model, options or versions are not; with `strict`, if a file cannot be
            read.
        ConfigError: If the config describes no model.
        MissingExtraError: If the framework, Pillow, nibabel or, for Parquet,
            pyarrow is not installed.
    """
    start = time.perf_counter()
    check_path("folder", folder)
    check_path("out", out)
    for name, value in (("tokens", tokens), ("strict", strict), ("force", force)):
        check_flag(name, value)
    check_count("batch_size", batch_size)
    if shard_size is not None:
        check_count("shard_size", shard_size)
    check_file_format(format)
    folder, out = Path(folder), Path(out)
    files = list_folder(folder)
    running = load(
        model,
        Asked.by(from_dialect, prefix, config, preset, changes, drop, head, base),
        backend=backend,
        device=device,
    )
    entries = (Entry(folder / file.path, file.path) for file in files)
    if are_raw(entries, running.config.spatial_dims):
        check_stated(running.config)
    shapes = _shapes(running.config, tokens)
    with held(out), fixed_threads(running.library, begun_with(out, force)) as many:
        run = {"file_format": format, "device": device, "threads": many}
        job = _job(out, running, files, shapes, run, batch_size, shard_size)
        there = job.begin(force)
        resumed = sum(len(job.part(index)) for index in there)
        work = _Work(job, running, folder, tokens, batch_size, strict)
        shards = work.done(there, progress or (lambda done, total: None))
        job.end(shards)
    return EmbedReport(
        out=out,
        files=len(files),
        rows=sum(len(shard.rows) for shard in shards),
        unreadable=tuple(Failure(*pair) for s in shards for pair in s.unreadable),
        shards=len(shards),
        file_format=format,
        tensors=shapes,
        resumed=resumed,
        library=running.library,
        fingerprint=running.fingerprint,
        model_fingerprint=running.model_fingerprint,
        seconds=time.perf_counter() - start,
    )


def _shapes(config: ViTConfig, tokens: bool) -> dict[str, tuple[int, ...]]:
    """Tensors that are written, and the shape of one row of each."""
    found: dict[str, tuple[int, ...]] = {}
    if config.global_pool != "none":
        found["embedding"] = (config.head_in_dim,)
    elif not tokens:
        raise refusal(
            "the model pools nothing: it has no embedding, only tokens",
            kind="config",
            hint=f"Ask for them: {options(tokens=True)}.",
        )
    if tokens:
        found["tokens"] = (config.num_tokens, config.embed_dim)
    return found


def _job(
    out: Path,
    running: Running,
    files: list[Listed],
    shapes: Mapping[str, tuple[int, ...]],
    run: Mapping[str, Any],
    batch_size: int,
    shard_size: int | None,
) -> Job:
    row = 4 * sum(prod(shape) for shape in shapes.values())
    most = min(SHARD_FILES, SHARD_BYTES // row)
    size = shard_size or max(most // batch_size, 1) * batch_size
    about = {
        "format": FORMAT,
        "fingerprint": running.fingerprint,
        "model_fingerprint": running.model_fingerprint,
        "tensors": {name: list(shape) for name, shape in shapes.items()},
        **run,
        "batch_size": batch_size,
        "shard_size": size,
        "library": running.library,
        "versions": _versions(library_of(run["file_format"])),
        "config": running.config.to_dict(),
    }
    return Job(out, about, files, size, shapes, run["file_format"])


def _versions(writer: str) -> dict[str, str]:
    """Of all else that the bytes depend on."""
    found = {"vit-duet": VERSION}
    for name in ("numpy", "pillow", "nibabel", "simpleitk", writer):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


class _Work:
    """Makes the shards that are missing."""

    def __init__(
        self,
        job: Job,
        running: Running,
        folder: Path,
        tokens: bool,
        batch_size: int,
        strict: bool,
    ) -> None:
        self._job, self._running, self._folder = job, running, folder
        self._tokens, self._batch_size, self._strict = tokens, batch_size, strict
        self._reader = InputReader(running.config)

    def done(self, there: Mapping[int, Shard], progress: Progress) -> list[Shard]:
        """All shards, in order; those that are not there are made."""
        job = self._job
        for shard in there.values():
            self._check_strict(shard.unreadable)
        missing = [index for index in range(job.shard_count) if index not in there]
        done = len(job.files) - sum(len(job.part(index)) for index in missing)
        progress(done, len(job.files))
        queue = (file for index in missing for file in job.part(index))
        ahead = self._batch_size + workers()
        made = dict(there)
        with quiet(), closing(read_ahead(queue, self._read, ahead)) as results:
            for index in missing:
                part = islice(results, len(job.part(index)))
                made[index] = self._shard(index, _told(part, done, job, progress))
                done += len(job.part(index))
        return [made[index] for index in range(job.shard_count)]

    def _read(self, file: Listed) -> Read:
        path = self._folder / file.path
        found = self._reader(path, file.path, most=1)
        if stamp(path) != (file.size, file.mtime_ns):
            raise refusal("changed since the folder was listed", file=path)
        return found

    def _shard(
        self, index: int, results: Iterator[tuple[Listed, Read | ConversionError]]
    ) -> Shard:
        """Makes one shard, and writes it."""
        job = self._job
        count = len(job.part(index))
        arrays = {n: np.empty((count, *s), np.float32) for n, s in job.shapes.items()}
        rows: list[tuple[str, str]] = []
        unreadable: list[tuple[str, str]] = []
        waiting: list[Array] = []

        def flush() -> None:
            if waiting:
                start = len(rows) - len(waiting)
                for name, values in self._asked(waiting).items():
                    arrays[name][start : len(rows)] = values
                waiting.clear()

        for file, found in results:
            if isinstance(found, ConversionError):
                unreadable.append((file.path, reason(found)))
                self._check_strict(unreadable)
                continue
            waiting.append(found.inputs[0].values)
            rows.append((file.path, found.sha256))
            if len(waiting) == self._batch_size:
                flush()
        flush()
        shard = Shard(job.name(index), tuple(rows), tuple(unreadable))
        write_shard(job.out, shard, {n: a[: len(rows)] for n, a in arrays.items()})
        return shard

    def _asked(self, inputs: list[Array]) -> dict[str, Array]:
        """Features of a batch, which is always as large: then so are all sums in it."""
        x = np.zeros((self._batch_size, *inputs[0].shape), np.float32)
        np.stack(inputs, out=x[: len(inputs)])
        found = self._running.features(x, self._tokens)
        return {name: values[: len(inputs)] for name, values in found.items()}

    def _check_strict(self, unreadable: Any) -> None:
        if self._strict and unreadable:
            issues = [Issue("file", path, said) for path, said in unreadable]
            raise ConversionError(
                issues,
                file=self._folder,
                hint=f"What was done is kept: without {option('strict')} the same call "
                "goes on.",
            )


def _told(
    results: Iterator[tuple[Listed, Read | ConversionError]],
    done: int,
    job: Job,
    progress: Progress,
) -> Iterator[tuple[Listed, Read | ConversionError]]:
    for count, result in enumerate(results, done + 1):
        yield result
        progress(count, len(job.files))
