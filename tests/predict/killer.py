"""Runs `embed` in processes of its own and kills them, again and again.

    python -m tests.predict.killer MODEL FOLDER OUT REPORT.json FORMAT

Frameworks are imported once; each run is a fork, made before any thread is. A run is
killed when it has made one more shard, or a while after; every third one in the midst
of writing one, when half of its bytes are in the file. A run may write no more than
that one shard: it waits at the next, so that a busy machine on which the kill comes
late sees as many states of the work as an idle one. The report says how many shards
there were at each kill.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import safetensors.numpy
import torch

import torch_vit
from converters.inference.embed import embed
from converters.workers import torch_runner
from tests.predict.common import KILLED

READY = (torch, torch_vit, torch_runner)  # imported before the forks

WAITS = (0.0, 0.001, 0.003, 0.01, 0.02)


def shards(out: Path) -> int:
    return len(list(out.glob("embeddings-*-of-*.*")))


def writer(file_format: str) -> tuple[ModuleType, str]:
    """The library's function that writes a file: of some content, to some path."""
    if file_format == "parquet":
        return import_module("pyarrow.parquet"), "write_table"
    return safetensors.numpy, "save_file"


def torn(save: Callable[..., None]) -> Callable[..., None]:
    """Writes half of a file, and that is the end."""

    def write(content: Any, path: Path, *arguments: Any, **options: Any) -> None:
        save(content, path, *arguments, **options)
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    return write


def at_most(save: Callable[..., None], count: int) -> Callable[..., None]:
    """Writes `count` files, and waits for its end at the one after."""
    left = count

    def write(*arguments: Any, **options: Any) -> None:
        nonlocal left
        while not left:
            signal.pause()
        left -= 1
        save(*arguments, **options)

    return write


def started(
    model: Path, folder: Path, out: Path, file_format: str, more: int, tears: bool
) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        module, name = writer(file_format)
        save = getattr(module, name)
        setattr(module, name, torn(save) if tears else at_most(save, more))
        embed(model, folder, out, **KILLED, format=file_format)
        status = 0
    finally:
        os._exit(status)


def killed_at(pid: int, out: Path, more: int, wait: float) -> int | None:
    """Shards when it was killed; None if it was done before."""
    before = shards(out)
    status = None
    while shards(out) < before + more and status is None:
        found, code = os.waitpid(pid, os.WNOHANG)
        status = code if found else None
        time.sleep(0.0005)
    if status is None:
        time.sleep(wait)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return shards(out)
    if os.WEXITSTATUS(status):
        raise SystemExit("a run failed")
    return None


def main() -> None:
    model, folder, out, report = map(Path, sys.argv[1:5])
    file_format = sys.argv[5]
    writer(file_format)
    told: list[int] = []
    leftovers = 0
    for attempt in range(100):
        # First while it begins, then in the midst of the work.
        more, wait = (0, attempt * 0.05) if attempt < 4 else (1, WAITS[attempt % 5])
        # The last shard is followed by the index: that one may be killed or be done.
        tears = attempt % 3 == 2
        pid = started(model, folder, out, file_format, more, tears)
        found = killed_at(pid, out, more, wait)
        if found is None:
            break
        told.append(found)
        leftovers += len(list(out.glob(".vit-duet-*")))
    report.write_text(json.dumps({"killed": told, "leftovers": leftovers}))


if __name__ == "__main__":
    main()
