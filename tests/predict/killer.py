"""Runs `embed` in processes of its own and kills them, again and again.

    python -m tests.predict.killer MODEL FOLDER OUT REPORT.json

Frameworks are imported once; each run is a fork, made before any thread is. A run is
killed when it has made some more shards, or a while after. The report says how many
shards there were at each kill.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

import torch_vit
from converters.deploy.embed import embed
from converters.parity import torch_runner
from tests.predict.common import KILLED

READY = (torch, torch_vit, torch_runner)  # imported before the forks

WAITS = (0.0, 0.001, 0.003, 0.01, 0.02)


def shards(out: Path) -> int:
    return len(list(out.glob("embeddings-*.safetensors")))


def started(model: Path, folder: Path, out: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        embed(model, folder, out, **KILLED)
        status = 0
    finally:
        os._exit(status)


def killed_at(pid: int, out: Path, more: int, wait: float) -> int | None:
    """Shards when it was killed; None if it was done before."""
    before = shards(out)
    limit = time.monotonic() + 60
    while shards(out) < before + more and time.monotonic() < limit:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return None
        time.sleep(0.0005)
    time.sleep(wait)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return None if os.WIFEXITED(status) else shards(out)


def main() -> None:
    model, folder, out, report = map(Path, sys.argv[1:])
    told: list[int] = []
    leftovers = 0
    for attempt in range(100):
        pid = started(model, folder, out)
        # First while it begins, then in the midst of the work.
        more, wait = (0, attempt * 0.05) if attempt < 4 else (1, WAITS[attempt % 5])
        found = killed_at(pid, out, more, wait)
        if found is None:
            break
        told.append(found)
        leftovers += len(list(out.glob(".vit-duet-*")))
    report.write_text(json.dumps({"killed": told, "leftovers": leftovers}))


if __name__ == "__main__":
    main()
