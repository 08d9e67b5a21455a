"""A folder of embeddings: what it is of, and what of it is there.

    OUT/files.jsonl                     the files of the folder when it was begun
    OUT/embed.json                      model, options, versions; written second
    OUT/embeddings-00001-of-00012.safetensors ... or .parquet
    OUT/unreadable.jsonl                files without a row, and why
    OUT/index.jsonl                     file and row of every path; written last

Every file gets its name when it is whole and on the disk. No byte depends on when, or
in how many runs, they were made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, Issue, printable, refusal
from converters.files.atomic import atomic, sync
from converters.inference.embedding.listing import Listed, check_same, lines, read_list
from converters.inference.embedding.shards import (
    FILE_FORMATS,
    Shard,
    read_shard,
    shard_name,
)
from converters.wording import options

FILES, JOB = "files.jsonl", "embed.json"
UNREADABLE, INDEX = "unreadable.jsonl", "index.jsonl"
_SCRATCH = ".vit-duet-*.tmp"
_SHARDS = "embeddings-*-of-*."


@dataclass(frozen=True)
class Job:
    """What is to be in the folder.

    Attributes:
        out: The folder.
        about: Model, options and versions, as JSON types.
        files: What it is of, in order.
        shard_size: Files of one shard.
        shapes: Tensors of a shard, each without the axis of the rows.
        file_format: Kind of the shards.
    """

    out: Path
    about: Mapping[str, Any]
    files: Sequence[Listed]
    shard_size: int
    shapes: Mapping[str, tuple[int, ...]]
    file_format: str

    @property
    def shard_count(self) -> int:
        """How many shards there will be."""
        return -(-len(self.files) // self.shard_size)

    def name(self, index: int) -> str:
        """Name of a shard."""
        return shard_name(index, self.shard_count, self.file_format)

    def part(self, index: int) -> Sequence[Listed]:
        """The files of a shard."""
        return self.files[index * self.shard_size : (index + 1) * self.shard_size]

    def begin(self, force: bool) -> dict[int, Shard]:
        """Makes the folder, or finds what is in it of this very job.

        Args:
            force: Begin anew whatever of embeddings is there.

        Returns:
            The shards that are there.

        Raises:
            ConversionError: If it holds something else, or embeddings by another model
                or with other options, or of files that changed.
        """
        _remove(self.out.glob(_SCRATCH))
        if force and (self.out / JOB).exists():
            self._read_job()
            # The job goes last: without it nobody knows whose the others are.
            for kind in FILE_FORMATS:
                _remove(self.out.glob(_SHARDS + kind))
            _remove(self.out / name for name in (INDEX, UNREADABLE, JOB))
        if not (self.out / JOB).exists():
            self._check_free()
            _write(self.out / FILES, lines(self.files))
            _write(self.out / JOB, [json.dumps(dict(self.about), indent=1)])
            return {}
        self._check_job()
        check_same(read_list(self.out / FILES), self.files, self.out)
        return {
            index: read_shard(
                self.out,
                self.name(index),
                self.shapes,
                [file.path for file in self.part(index)],
            )
            for index in range(self.shard_count)
            if (self.out / self.name(index)).exists()
        }

    def end(self, shards: Iterable[Shard]) -> None:
        """Writes the index; `shards` are all of them, in order."""
        shards = list(shards)
        unreadable = (
            json.dumps({"path": path, "reason": reason})
            for shard in shards
            for path, reason in shard.unreadable
        )
        _write(self.out / UNREADABLE, unreadable)
        rows = (
            json.dumps({"path": path, "file": shard.name, "row": row, "sha256": sha})
            for shard in shards
            for row, (path, sha) in enumerate(shard.rows)
        )
        _write(self.out / INDEX, rows)

    def _check_free(self) -> None:
        others = sorted(p.name for p in self.out.iterdir() if p.name != FILES)
        if not others:
            return
        shown = ", ".join(printable(name, 40) for name in others[:3])
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise refusal(
            f"a folder with other files: {shown}{more}",
            file=self.out,
            hint=f"Without {JOB} nothing in it can be gone on with. Name another one.",
        )

    def _read_job(self) -> dict[str, Any]:
        path = self.out / JOB
        try:
            found = dict(_flat(json.loads(path.read_bytes())))
        except (ValueError, AttributeError) as error:
            raise refusal(f"not what embed wrote: {error}", file=path) from None
        if not {"format", "fingerprint"} <= found.keys():
            raise refusal("not what embed wrote", file=path)
        return found

    def _check_job(self) -> None:
        items = self._read_job()
        wanted = dict(_flat(json.loads(json.dumps(dict(self.about)))))
        issues = [
            Issue("config", name, _shown(items, name), _shown(wanted, name))
            for name in (*wanted, *(n for n in items if n not in wanted))
            if items.get(name) != wanted.get(name)
        ]
        if issues:
            raise ConversionError(
                issues,
                file=self.out,
                hint="Found: what was begun. Expected: what is asked for now. Ask for "
                f"the same, begin anew with {options(force=True)}, or name another "
                "folder.",
            )


def begun_with(out: Path, force: bool) -> Any:
    """The threads of an earlier run that is to be gone on with, if it says any.

    Whether the rest of what it says holds is seen by `Job.begin`.
    """
    if force:
        return None
    try:
        found = json.loads((out / JOB).read_bytes())
    except (OSError, ValueError):
        return None
    return found.get("threads") if isinstance(found, dict) else None


def _shown(fields: Mapping[str, Any], name: str) -> str:
    return repr(fields[name]) if name in fields else "nothing"


def _flat(fields: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _write(path: Path, rows: Iterable[str]) -> None:
    with atomic(path, force=True) as made, made.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{row}\n" for row in rows)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Makes a folder, and holds it against another run.

    Raises:
        ConversionError: If it cannot be made or written to, or another run has it.
    """
    if folder.exists() and not folder.is_dir():
        raise refusal("a file, not a folder", file=folder)
    if not folder.parent.is_dir():
        raise refusal(f"no such folder: {folder.parent}", file=folder)
    folder.mkdir(exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise refusal("cannot be written to", file=folder)
    sync(folder.parent)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            import fcntl
        except ImportError:  # Windows: two runs at once are the user's affair
            yield
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refusal("another run writes to it now", file=folder) from None
        yield
    finally:
        os.close(handle)
